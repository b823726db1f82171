from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.compat import migrate
from greenserve.compat.migrate import find_uses, main
from greenserve.compat.table import Verdict


def names(source: str) -> list[str]:
    return [use.name for use in find_uses(source)]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import eventlet", ["eventlet"]),
        ("import eventlet\neventlet.spawn(f)", ["eventlet", "eventlet.spawn"]),
        ("import eventlet.wsgi as w\nw.server(s, app)", ["eventlet.wsgi", "eventlet.wsgi.server"]),
        ("import eventlet.wsgi\neventlet.wsgi.server(s, app)", ["eventlet.wsgi", "eventlet.wsgi.server"]),
        ("from eventlet import wsgi\nwsgi.server(s, app)", ["eventlet.wsgi", "eventlet.wsgi.server"]),
        ("from eventlet import spawn as go\ngo(f)", ["eventlet.spawn", "eventlet.spawn"]),
        (
            "from eventlet.green import socket\nsocket.socket()",
            ["eventlet.green.socket", "eventlet.green.socket.socket"],
        ),
        ("from eventlet import *", ["eventlet"]),
        ("def f():\n    import eventlet\n    eventlet.sleep()", ["eventlet", "eventlet.sleep"]),
        ("@eventlet.wrap\ndef f(): pass\nimport eventlet", ["eventlet.wrap", "eventlet"]),
        ("import gevent\ngevent.sleep(1)", ["gevent", "gevent.sleep"]),
        ("from gevent.pool import Pool", ["gevent.pool.Pool"]),
        # Nothing of theirs.
        ("import eventlets\neventlets.spawn()", []),
        ("from . import eventlet\neventlet.spawn()", []),
        ("from .eventlet import spawn\nspawn()", []),
        ("eventlet = 1\neventlet.real", []),
        ("# import eventlet\n'import eventlet'", []),
        # A function's own names are its own.
        ("from eventlet import queue\ndef f(queue): queue.put(1)", ["eventlet.queue"]),
        ("from eventlet import queue\ndef f():\n    queue = 1\n    queue.put(1)", ["eventlet.queue"]),
        ("from eventlet import queue\nf = lambda queue: queue.put", ["eventlet.queue"]),
        ("from eventlet import queue\ndef f(): queue.Queue()", ["eventlet.queue", "eventlet.queue.Queue"]),
    ],
)
def test_uses_are_found_by_what_a_file_imports(source: str, found: list[str]) -> None:
    assert names(source) == found


@pytest.mark.parametrize(
    ("source", "name", "verdict"),
    [
        ("from eventlet import spawn", "eventlet.spawn", Verdict.AS_IS),
        ("from eventlet import monkey_patch", "eventlet.monkey_patch", Verdict.DIFFERENCE),
        ("import eventlet.zipkin", "eventlet.zipkin", Verdict.CHANGE),
        (
            "from eventlet.websocket import WebSocketWSGI\nWebSocketWSGI.configured(support_legacy_versions=True)",
            "eventlet.websocket.WebSocketWSGI.configured(support_legacy_versions=True)",
            Verdict.CHANGE,
        ),
        (
            "from eventlet import hubs\nhubs.use_hub('pyevent')",
            "eventlet.hubs.use_hub(mod='pyevent')",
            Verdict.CHANGE,
        ),
        (
            "from eventlet import wsgi\nclass P(wsgi.HttpProtocol):\n    reject_bad_requests = False",
            "eventlet.wsgi.HttpProtocol.reject_bad_requests",
            Verdict.CHANGE,
        ),
    ],
)
def test_each_use_has_its_verdict(source: str, name: str, verdict: Verdict) -> None:
    assert (name, verdict) in [(use.name, use.verdict) for use in find_uses(source)]


def test_a_use_says_where_it_is() -> None:
    (_, use) = find_uses("import eventlet\nx = 1; eventlet.sleep()\n", "a.py")
    assert (use.path, use.line, use.column) == ("a.py", 2, 8)


@given(st.text())
def test_any_text_is_read_or_refused_as_no_python(text: str) -> None:
    try:
        find_uses(text)
    except (SyntaxError, ValueError):  # ValueError: a NUL
        pass


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "fine.py").write_text("import eventlet\neventlet.spawn(print)\n")
    (tmp_path / "package" / "worse.py").write_text("import eventlet.zipkin\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.py").write_text("import eventlet.zipkin\n")
    (tmp_path / "notes.txt").write_text("import eventlet.zipkin\n")
    return tmp_path


def test_a_directory_is_read_with_all_below_but_hidden_ones(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tree)]) == migrate.CHANGES_NEEDED
    lines = capsys.readouterr().out.splitlines()
    assert [line.removeprefix(f"{tree}/") for line in lines] == [
        "package/fine.py:1:1: eventlet runs as it is",
        "package/fine.py:2:1: eventlet.spawn runs as it is",
        "package/worse.py:1:1: eventlet.zipkin needs a change: tracing by Zipkin's old protocol: use OpenTelemetry",
        "3 uses: 2 run as they are, 0 run with a difference, 1 needs a change",
    ]


def test_nothing_to_do_is_0(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tree / "package" / "fine.py")]) == migrate.NOTHING_TO_DO
    assert capsys.readouterr().out.endswith("2 uses: 2 run as they are, 0 run with a difference, 0 need a change\n")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"def (:\n", "line 1: invalid syntax"),
        (b"# coding: nothing\n", "unknown encoding"),
        (b"x = '\xff'\n", "invalid or missing encoding declaration"),
        (b"x = '\0'\n", "null byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_of_and_the_others_are_read(
    tree: Path, capsys: pytest.CaptureFixture[str], content: bytes, reason: str
) -> None:
    (tree / "package" / "broken.py").write_bytes(content)
    (tree / "package" / "worse.py").unlink()
    assert main([str(tree)]) == migrate.NOT_READ
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tree}/package/broken.py: not read: ")
    assert reason in first.lower()
    assert last.endswith("1 file not read")


def test_a_path_that_is_not_there_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.py")]) == migrate.NOT_READ
    assert "No such file" in capsys.readouterr().out


def test_json_has_the_same(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "package" / "broken.py").write_text("(")
    assert main(["--json", str(tree / "package")]) == migrate.CHANGES_NEEDED
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"as_is": 2, "difference": 0, "change": 1}
    assert [Path(each["path"]).name for each in document["not_read"]] == ["broken.py"]
    assert document["uses"][-1] == {
        "path": str(tree / "package" / "worse.py"),
        "line": 1,
        "column": 1,
        "name": "eventlet.zipkin",
        "verdict": "change",
        "text": "tracing by Zipkin's old protocol: use OpenTelemetry",
    }


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(
    tree: Path, monkeypatch: pytest.MonkeyPatch, variable: str, coloured: bool
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", variable)
    main([str(tree)])
    assert ("\033[31mneeds a change\033[0m" in terminal.getvalue()) is coloured
