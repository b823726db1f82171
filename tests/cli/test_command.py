"""The command as a person runs it: a process of its own, its output, its exit status."""

from __future__ import annotations

import http.client
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from greenserve._version import __version__
from greenserve.settings import SETTINGS
from tests.cli.running import LIFETIME, ROOT, Command, environment, run

APPS = """
import resource, sys

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/limit":
        body = repr(resource.getrlimit(resource.RLIMIT_NOFILE)).encode()
    if environ["PATH_INFO"] == "/path":
        body = repr(sys.path).encode()
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("the app failed")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

def create_app():
    return app
"""


START = Callable[..., Command]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPS)
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[START]:
    """Start the command on a free port, unless it is told where to listen, in a folder with an application."""
    started: list[Command] = []

    def start_command(*args: str, cwd: Path = folder, bind: bool = True, **popen: Any) -> Command:
        where = ["--bind", "127.0.0.1:0"] if bind else []
        started.append(Command(*args, *where, cwd=cwd, stderr=folder / f"stderr-{len(started)}", **popen))
        return started[-1]

    yield start_command
    for command in started:
        command.close()


# Serving


def test_without_an_argument_it_serves_the_demo_and_prints_its_address(start: START) -> None:
    command = start()
    (port,) = command.ports
    assert command.line == f"greenserve {__version__} serving the demo at http://127.0.0.1:{port}/ (Ctrl-C stops)\n"
    assert "GreenSocket.recv_into()" in command.get("/")
    assert command.stop() == (0, "")


@pytest.mark.parametrize("args", [["shop:app"], ["shop"], ["shop:create_app()"], ["shop:create_app", "--factory"]])
def test_it_serves_the_application_that_it_is_given(start: START, args: list[str]) -> None:
    command = start(*args)
    assert f" serving {args[0]} at http://127.0.0.1:" in command.line
    assert command.get("/") == ""
    assert command.stop() == (0, "")


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_it_serves_where_its_first_line_can_be_written_nowhere(folder: Path, redirection: str) -> None:
    command = subprocess.Popen(
        [
            "sh",
            "-c",
            f'exec "$@" {redirection}',
            "sh",
            sys.executable,
            "-m",
            "greenserve",
            "--bind",
            "127.0.0.1:0",
            "shop",
        ],
        env=environment(),
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    killer = threading.Timer(LIFETIME, command.kill)
    killer.start()
    with command:
        assert command.stderr
        try:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", command.stderr.readline())
            assert found
            connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=LIFETIME)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
        finally:
            command.terminate()
            killer.cancel()


@pytest.mark.parametrize(
    "text",
    [
        "import logging.config\nfrom shop import app\nlogging.config.dictConfig({'version': 1})\n",
        """
import logging.config, shop
def app(environ, start_response):
    logging.config.dictConfig({'version': 1})
    return shop.app(environ, start_response)
""",
    ],
)
def test_an_application_that_sets_logging_up_takes_no_line_of_the_server_away(
    start: START, folder: Path, text: str
) -> None:
    (folder / "theirs.py").write_text(text)
    command = start("theirs:app", "--access-logfile", "access.log")
    assert command.get("/") == ""
    assert command.stop() == (0, "")
    assert (folder / "access.log").read_text().count("GET / HTTP/1.1") == 1
    assert "stopped after 1 request" in (folder / "stderr-0").read_text()


def test_a_configuration_file_that_sets_logging_up_silences_no_logger_of_the_server(start: START, folder: Path) -> None:
    (folder / "greenserve.conf.py").write_text("import logging.config\nlogging.config.dictConfig({'version': 1})\n")
    assert start("--workers", "1").stop()[0] == 0
    text = (folder / "stderr-0").read_text()
    assert "started worker 1" in text
    assert "stopped after 0 requests" in text


def test_options_may_stand_before_and_after_the_application(start: START) -> None:
    assert " serving shop:app at " in start("--backlog", "5", "shop:app", "--log-level=debug").line


def test_it_serves_at_every_address(start: START, folder: Path) -> None:
    command = start("shop:app", "--bind", "unix:a.sock", "--bind", "127.0.0.1:0,[::1]:0", bind=False)
    (v4, v6) = command.ports
    assert f" at unix:a.sock and http://127.0.0.1:{v4}/ and http://[::1]:{v6}/ (" in command.line
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", v4)),
        (socket.AF_INET6, ("::1", v6)),
        (socket.AF_UNIX, str(folder / "a.sock")),
    ):
        with socket.socket(family) as client:
            client.connect(address)
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b"\r\n\r\nhi")
    assert command.stop() == (0, "")
    assert not (folder / "a.sock").exists()


def test_it_serves_on_a_socket_that_it_inherits(start: START) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        command = start("shop:app", "--bind", f"fd://{fd}", bind=False, pass_fds=[fd])
        assert command.ports == [listener.getsockname()[1]]
        assert command.get("/") == ""


@pytest.mark.parametrize(
    ("env", "where"),
    [({"PORT": "0"}, "http://0.0.0.0:"), ({"PORT": "1", "GREENSERVE_BIND": "127.0.0.1:0"}, "http://127.0.0.1:")],
)
def test_the_environment_says_where_to_listen(start: START, env: dict[str, str], where: str) -> None:
    command = start("shop:app", bind=False, env={**environment(), **env})
    assert f" at {where}" in command.line
    assert command.get("/") == ""


def test_the_current_directory_comes_first_on_the_path(start: START, folder: Path) -> None:
    assert start("shop:app").get("/path").startswith(f"['{folder}',")


def test_the_directory_to_go_to_comes_first_on_the_path_and_others_after_it(start: START, folder: Path) -> None:
    command = start("shop:app", "--chdir", str(folder), "--pythonpath", "one,/two", cwd=ROOT)
    assert command.get("/path").startswith(f"['{folder}', '{folder}/one', '/two',")


def test_it_may_open_as_many_files_as_the_system_lets_it(start: START) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (256, 4096))
    assert start("shop:app", preexec_fn=limit).get("/limit") == "(4096, 4096)"


# Logs


def test_the_access_log_goes_to_stdout_when_it_is_asked_for(start: START) -> None:
    command = start("shop:app", "--access-logfile", "-")
    command.get("/path?a=b")
    status, rest = command.stop()
    assert status == 0
    assert re.fullmatch(r'127\.0\.0\.1 - - \[.*\] "GET /path\?a=b HTTP/1\.1" 200 \d+ "-" "-"\n', rest)


def test_the_access_log_has_the_format_that_is_asked_for(start: START) -> None:
    command = start("shop:app", "--access-logfile", "-", "--access-logformat", "%(m)s %(U)s %(s)s")
    command.get("/path")
    assert command.stop() == (0, "GET /path 200\n")


def test_a_person_who_tries_the_demo_sees_the_requests(start: START) -> None:
    ours, theirs = os.openpty()
    try:
        command = subprocess.Popen(
            [sys.executable, "-m", "greenserve", "--bind", "127.0.0.1:0"],
            env=environment(),
            cwd=ROOT,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        with command, open(ours, closefd=False) as terminal:
            try:
                address = re.findall(r"127\.0\.0\.1:\d+", terminal.readline())[0]
                connection = http.client.HTTPConnection(address, timeout=LIFETIME)
                connection.request("GET", "/health")
                assert connection.getresponse().read() == b'{"status": "ok"}\n'
                connection.close()
                line = re.sub(r"\x1b\[[\d;]*m", "", terminal.readline())
                assert re.match(r"\d\d:\d\d:\d\d 200 +\d.* GET /health 127\.0\.0\.1$", line)
            finally:
                command.terminate()
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_the_application_raises_is_logged_with_time_and_level(start: START) -> None:
    command = start("shop:app")
    with pytest.raises(AssertionError):
        command.get("/fail")
    command.stop()
    assert re.search(r"^\[\d{4}-\d\d-\d\d .*\] \[\d+\] \[ERROR\] ", command.stderr, re.MULTILINE)
    assert "RuntimeError: the app failed" in command.stderr


@pytest.mark.parametrize(("args", "is_patched"), [([], True), (["--patch"], True), (["--no-patch"], False)])
def test_the_standard_library_is_made_cooperative_unless_told_otherwise(
    start: START, folder: Path, args: list[str], is_patched: bool
) -> None:
    (folder / "patched.py").write_text(
        "from greenserve import monkey\n"
        "IS_PATCHED = monkey.is_patched('time')\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [repr(IS_PATCHED).encode()]\n"
    )
    assert start("patched:app", *args).get("/") == repr(is_patched)


def test_the_configuration_file_of_the_folder_is_read_and_what_looks_misspelt_in_it_is_told(
    start: START, folder: Path
) -> None:
    (folder / "greenserve.conf.py").write_text("wsgi_app = 'shop:app'\nbacklogs = 5\n")
    command = start()
    assert " serving shop:app at " in command.line
    command.stop()
    assert "[WARNING] backlogs in greenserve.conf.py is not a setting; did you mean backlog?" in command.stderr


def test_a_misspelt_variable_is_told_in_the_log(start: START) -> None:
    command = start("shop:app", env={**environment(), "GREENSERVE_BACKLOGS": "1"})
    command.stop()
    assert "[WARNING] GREENSERVE_BACKLOGS in the environment is not a setting; did you mean GREENSERVE_BACKLOG?" in (
        command.stderr
    )


# Stopping


class Slow:
    """A request whose body has not arrived yet, so that the application is waiting for it."""

    def __init__(self, command: Command) -> None:
        self.socket = socket.create_connection(("127.0.0.1", command.ports[0]), timeout=LIFETIME)
        self.socket.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        # The server says this when the application begins to read.
        assert self.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    def finish(self) -> bytes:
        """Send the body, and return everything until the server closes."""
        self.socket.sendall(b"body")
        with self.socket, self.socket.makefile("rb") as answer:
            return answer.read()

    def is_cut_off(self) -> bool:
        """Wait for the end of the connection, and tell whether it came without the application's answer."""
        with self.socket, self.socket.makefile("rb") as answer:
            try:
                return b"200 OK" not in answer.read()
            except ConnectionResetError:
                return True


def wait_until_refused(command: Command) -> None:
    """Wait until nobody listens any more."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", command.ports[0]), timeout=LIFETIME).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:  # it came in the moment in which the listener was closed
            continue
        assert command.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_a_running_request_finish(start: START, number: int) -> None:
    command = start("shop:app")
    slow = Slow(command)
    command.process.send_signal(number)
    wait_until_refused(command)
    answer = slow.finish()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nbody")
    assert command.wait() == (0, "")
    assert "stopping within 30 s" in command.stderr


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGINT], [signal.SIGQUIT]])
def test_a_second_interrupt_and_a_quit_stop_at_once(start: START, signals: list[int]) -> None:
    command = start("shop:app", "--graceful-timeout", "1h")
    slow = Slow(command)
    for number in signals[:-1]:
        command.process.send_signal(number)
        wait_until_refused(command)
    assert command.stop(signals[-1]) == (0, "")
    assert slow.is_cut_off()


def test_a_second_sigterm_changes_nothing(start: START) -> None:
    command = start("shop:app")
    slow = Slow(command)
    command.process.send_signal(signal.SIGTERM)
    wait_until_refused(command)
    command.process.send_signal(signal.SIGTERM)
    assert slow.finish().endswith(b"body")
    assert command.wait() == (0, "")


def test_a_graceful_stop_ends_when_its_time_is_over(start: START) -> None:
    command = start("shop:app", "--graceful-timeout", "100ms")
    slow = Slow(command)
    assert command.stop() == (0, "")
    assert slow.is_cut_off()


# Not starting


def test_a_busy_port_is_one_clear_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        done = run("shop:app", "--bind", address, cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"greenserve: can't listen on {address}: it is in use\n"


def test_an_application_that_cannot_be_imported_shows_its_traceback(folder: Path) -> None:
    (folder / "broken.py").write_text("import json\n\nprint(undefined_name)\n")
    done = run("broken:app", "--bind", "127.0.0.1:0", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert lines[0] == "greenserve: can't load broken:app"
    assert lines[1] == "Traceback (most recent call last):"
    assert lines[2] == f'  File "{folder}/broken.py", line 3, in <module>'
    assert lines[-1] == "NameError: name 'undefined_name' is not defined"


def test_a_missing_module_comes_with_a_hint(folder: Path) -> None:
    done = run("stop:app", "--bind", "127.0.0.1:0", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "greenserve: can't load stop:app",
        "ModuleNotFoundError: No module named 'stop'",
        f"Is the module in this directory, {folder}, or in one that --chdir or --pythonpath names?",
    ]


def test_an_application_that_fails_to_load_leaves_no_socket_behind(folder: Path) -> None:
    done = run("shop:nothing", "--bind", "unix:a.sock", cwd=folder)
    assert done.returncode == 1
    assert "'shop' has no 'nothing'" in done.stderr
    assert not (folder / "a.sock").exists()


@pytest.mark.parametrize(
    ("args", "env", "message"),
    [
        (["--keep-alive", "soon"], {}, "keep_alive = 'soon' (--keep-alive on the command line) is not right"),
        (["--keepalive=soon"], {}, "keep_alive = 'soon' (--keepalive on the command line) is not right"),
        ([], {"GREENSERVE_BACKLOG": "0"}, "backlog = '0' (GREENSERVE_BACKLOG in the environment) is not right"),
        (
            ["--keep-alive", "1", "--keepalive", "2"],
            {},
            "keep_alive is set twice: --keep-alive on the command line and",
        ),
        (["--chdir", "/no/such"], {}, "chdir = '/no/such' (--chdir on the command line): No such file or directory"),
        (["--config", "no.py"], {}, "can't read the configuration file no.py: No such file or directory"),
        ([], {"GREENSERVE_CONFIG": "no.txt"}, "can't read the configuration file no.txt: No such file or directory"),
        (["--workers", "0"], {}, "workers = '0' (--workers on the command line) is not right; allowed: a whole number"),
        (
            [],
            {"WEB_CONCURRENCY": "many"},
            "workers = 'many' (WEB_CONCURRENCY in the environment) is not right; allowed",
        ),
        (["--error-logfile", "/no/such/log"], {}, "can't write the log /no/such/log: No such file or directory"),
        (["--access-logformat", "%(x)s"], {}, "access_logformat = '%(x)s' (--access-logformat on the command line): "),
        (["--access-logformat", "%(h)"], {}, "access_logformat = '%(h)' (--access-logformat on the command line): "),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_its_source(args: list[str], env: dict[str, str], message: str) -> None:
    done = run("--bind", "127.0.0.1:0", *args, **env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"greenserve: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [["--bnid", "x"], ["--bin", "x"], ["a:b", "c:d"], ["--bind"]])
def test_options_that_make_no_sense_end_with_status_2(args: list[str]) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("Try: greenserve --help\n")


# Telling


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"greenserve {__version__}\n", "")


def test_the_help_has_every_setting_and_fits_a_terminal() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    for setting in SETTINGS.values():
        flag = "MODULE:APP" if setting.name == "wsgi_app" else f"--{setting.name.replace('_', '-')}"
        assert any(re.match(rf"  (?:-\w, )?{flag}(?: |$)", line) for line in lines), flag
        assert f"{setting.group}:" in lines


def test_a_checked_configuration_that_is_right_says_nothing_and_listens_nowhere(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        done = run("shop:app", "--check-config", "--bind", address, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "args", [["shop:nothing"], ["shop:app", "--backlog", "0"], ["shop:app", "--chdir", "/no/such"]]
)
def test_a_checked_configuration_that_is_wrong_ends_with_status_1(folder: Path, args: list[str]) -> None:
    done = run(*args, "--check-config", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("greenserve: ")


def test_a_flag_of_several_items_may_be_given_several_times() -> None:
    done = run(
        "--print-config", "-e", "HOSTS=a,b", "-e", "C=3", "--reload-extra-file", "x", "--reload-extra-file", "y,z"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "raw_env = ['HOSTS=a,b', 'C=3']  # --raw-env on the command line" in lines
    assert "reload_extra_files = ['x', 'y', 'z']  # --reload-extra-file on the command line" in lines


def test_the_printed_configuration_says_what_set_each_value() -> None:
    done = run("shop:app", "--print-config", "--worker-connections", "5", "--limit-request-field_size", "1K", PORT="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(SETTINGS)
    assert "wsgi_app = 'shop:app'  # MODULE:APP on the command line" in lines
    assert "max_size = 5  # --worker-connections on the command line" in lines
    assert "limit_request_field_size = 1024  # --limit-request-field-size on the command line" in lines
    assert "bind = ['0.0.0.0:80']  # PORT in the environment" in lines
    assert "keep_alive = 75.0  # default" in lines
