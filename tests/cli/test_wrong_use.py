"""What an operator gets wrong, and is told: options of other servers, slips of the pen, files that are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.cli import main
from greenserve.config import Source, load
from greenserve.errors import SettingError
from tests.cli.running import environment, run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "gevent"], "there is no option -k, leave it out: there is one kind of worker, with green threads"),
        (["--worker-class=gevent"], "there is no option --worker-class, leave it out: there is one kind of worker"),
        (["--worker_class", "gevent"], "there is no option --worker-class, leave it out: there is one kind of worker"),
        (["--threads", "4"], "there is no option --threads, leave it out: a worker serves each connection in a green"),
        (["-D"], "there is no option -D, leave it out: leave that to the service manager"),
        (["--daemon"], "there is no option --daemon, leave it out: leave that to the service manager"),
        (["--no-sendfile"], "there is no option --no-sendfile, leave it out: files are sent by the system"),
        (["--worker", "3"], "there is no option --worker; did you mean --workers?"),
        (["--acess-logfile", "-"], "there is no option --acess-logfile; did you mean --access-logfile?"),
        (["--dirty-app", "a.ini"], "there is no option --dirty-app\n"),
        (["shop:app", "other:app"], "one application is served, and other:app is one more\n"),
        (["--port", "8001"], "there is no option --port; did you mean --bind HOST:PORT?"),
        (["--host=0.0.0.0"], "there is no option --host; did you mean --bind HOST:PORT?"),
        (["--workers"], "argument -w/--workers: expected one argument"),
    ],
)
def test_an_option_that_there_is_not_is_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"greenserve: {message}")
    assert said.endswith("Try: greenserve --help\n")


@pytest.mark.parametrize("value", ["12", "512", "15M"])
def test_so_little_memory_that_every_worker_has_more_is_refused(value: str) -> None:
    with pytest.raises(SettingError, match=r"worker_max_rss = '\d+M?' .* is not right; allowed: bytes, such as"):
        load(Source("here", {"worker_max_rss": value}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--user", "nobody-at-all"], "user = 'nobody-at-all' (--user on the command line): there is no such user"),
        (
            ["--admin-bind", "0.0.0.0:0"],
            "admin_bind = '0.0.0.0:0' (--admin-bind on the command line): others can reach",
        ),
        (
            ["--certfile", "no.pem"],
            "certfile = 'no.pem' (--certfile on the command line): No such file or directory",
        ),
    ],
)
def test_check_config_finds_what_a_start_would(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("--check-config", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"greenserve: {message}")


def test_check_config_tells_what_has_no_effect_and_passes(tmp_path: Path) -> None:
    (tmp_path / "greenserve.conf.py").write_text("wokers = 2\nworker_class = 'gevent'\ndef when_redy(server): pass\n")
    done = run("--check-config", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        "greenserve: wokers in greenserve.conf.py is not a setting; did you mean workers?",
        "greenserve: worker_class in greenserve.conf.py has no effect: there is one kind of worker, with green threads",
        "greenserve: when_redy in greenserve.conf.py is not a hook; did you mean when_ready?",
    ]


def test_a_current_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-m", "greenserve"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "greenserve: the current directory is not there any more: go to one that is\n"
