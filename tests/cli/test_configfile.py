"""Configuration files: what they set, what is said about a wrong one, and where in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from greenserve.config import Source, load, read_environment
from greenserve.configfile import ConfigFile, ConfigFileError, read_config_file
from greenserve.errors import SettingError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(name: str, text: str) -> ConfigFile:
    Path(name).write_text(text)
    return read_config_file(name)


def test_a_python_file_sets_what_it_assigns_under_any_name_of_a_setting() -> None:
    file = read(
        "a.py", "import os\nworkers = 2 * 2\nbind = ['unix:x', '127.0.0.1:0']\nkeepalive = '1m'\n_private = 1\n"
    )
    config = load(file.source)
    assert (config.workers, config.keep_alive) == (4, 60.0)
    assert [str(address) for address in config.bind] == ["unix:x", "127.0.0.1:0"]
    assert config.origin("workers") == "workers in a.py, line 2"
    assert config.origin("keep_alive") == "keepalive in a.py, line 4"
    assert file.warnings == []


def test_a_toml_file_sets_what_it_assigns_with_dashes_or_underscores() -> None:
    config = load(read("a.toml", 'workers = 3\nkeep-alive = 2.5\nbind = ["unix:x"]\n').source)
    assert (config.workers, config.keep_alive, str(config.bind[0])) == (3, 2.5, "unix:x")
    assert config.origin("keep_alive") == "keep_alive in a.toml, line 2"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.py",
            "x = 1\nworkers = 0\n",
            r"^workers = 0 \(workers in a.py, line 2\) is not right; allowed: a whole num",
        ),
        ("a.py", "workers = '2'\nif True:\n    workers = 'x'\n", r"^workers = 'x' \(workers in a.py, line 3\)"),
        ("a.toml", "\n\nworkers = true\n", r"^workers = True \(workers in a.toml, line 3\) is not right"),
        ("a.toml", "wokers = 1\n", r"no setting 'wokers' \(wokers in a.toml, line 1\); did you mean workers\?"),
        ("a.toml", "[table]\nworkers = 1\n", r"there is no setting 'table' \(table in a.toml\)"),
        (
            "a.py",
            "pid = 'x'\npidfile = 'y'\n",
            r"pidfile is set twice: pid in a.py, line 1 and pidfile in a.py, line 2",
        ),
    ],
)
def test_a_wrong_value_names_the_file_and_the_line(name: str, text: str, message: str) -> None:
    file = read(name, text)
    with pytest.raises(SettingError, match=message):
        load(file.source)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.py", "workers = \n", r"^the configuration file a.py is not right\n  File .*a\.py\", line 1\n"),
        (
            "a.py",
            "def f():\n    return undefined\n\nf()\n",
            r"line 4, in <module>\n(.*\n)+.*line 2, in f\n(.*\n)+NameErr",
        ),
        ("a.py", "raise SystemExit(3)\n", r"^the configuration file a.py failed\n"),
        ("a.py", "\0", r"^the configuration file a.py "),
        ("a.toml", "workers =\n", r"^the configuration file a.toml is not right: .*line 1"),
        ("a.yaml", "workers: 1\n", r"^the configuration file a.yaml has to end in .py or .toml$"),
    ],
)
def test_a_file_that_is_not_right_is_told_with_the_place(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigFileError, match=message):
        read(name, text)


def test_a_toml_file_in_another_encoding_is_not_right() -> None:
    Path("a.toml").write_bytes(b'user = "\xff"\n')
    with pytest.raises(ConfigFileError, match=r"a\.toml is not right"):
        read_config_file("a.toml")


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigFileError, match=r"can't read the configuration file no.py: No such file or directory"):
        read_config_file("no.py")


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("worker = 4\n", ["worker in a.py is not a setting; did you mean workers?"]),
        ("cores = 4\nimport os, sys\nfrom os import path\n", []),
        (
            "worker_class = 'gevent'\n",
            ["worker_class in a.py has no effect: there is one kind of worker, with green threads"],
        ),
        (
            "def ssl_version(): pass\n",
            ["ssl_version in a.py has no effect: it is what Python takes for safe"],
        ),
        ("import syslog\ndef paste(): pass\n", ["paste in a.py has no effect: name the application as MODULE:APP"]),
    ],
)
def test_a_name_that_looks_like_a_setting_is_told_and_helpers_are_not(text: str, warnings: list[str]) -> None:
    assert read("a.py", text).warnings == warnings


def test_the_functions_of_a_python_file_are_kept() -> None:
    functions = read("a.py", "def when_ready(server):\n    return server + 1\n").functions
    assert functions["when_ready"](1) == 2


def test_a_file_is_stronger_than_what_platforms_set_and_weaker_than_the_rest() -> None:
    ours, platform = read_environment({"GREENSERVE_BACKLOG": "5", "WEB_CONCURRENCY": "8", "PORT": "80"})
    file = read("a.py", "workers = 2\nbacklog = 6\nmax_size = 7\n")
    config = load(Source("on the command line", {"max_size": "9"}), ours, file.source, platform)
    assert (config.workers, config.backlog, config.max_size, str(config.bind[0])) == (2, 5, 9, "0.0.0.0:80")


def test_web_concurrency_says_how_many_workers_there_are() -> None:
    config = load(*read_environment({"WEB_CONCURRENCY": "3"}))
    assert (config.workers, config.origin("workers")) == (3, "WEB_CONCURRENCY in the environment")


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="since then Python reads TOML itself")
def test_without_a_reader_of_toml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomli", None)
    monkeypatch.delitem(sys.modules, "greenserve._toml", raising=False)
    with pytest.raises(ImportError, match=r"greenserve\[toml\]"):
        read("b.toml", "workers = 1\n")
