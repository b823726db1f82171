"""One real request, recorded, against what the page about it tells."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

import greenserve
from greenserve.wsgi import HttpProtocol
from tests.docs.calls import Call, Line, check_calls, find_code, parse_calls, record_calls
from tests.docs.markdown import ROOT, Block, parse
from tests.wsgi.raw import running

PATH = ROOT / "docs" / "explanation" / "life-of-a-request.md"
PAGE = parse(PATH.read_text(), PATH)

# The hub looks for news also when there is none.
OFTEN = frozenset({"Poller.poll"})


def read_lines() -> list[Line]:
    """Return the lines of all the page's blocks as those of one."""
    lines: list[Line] = []
    for block in PAGE.blocks:
        if "calls" in block.markers:
            start = len(lines)
            lines += [
                line._replace(caller=None if line.caller is None else line.caller + start)
                for line in parse_calls(block)
            ]
    return lines


def load_app() -> Any:
    """Return the page's own application."""
    (text,) = (block.text for block in PAGE.blocks if block.markers.get("file") == "shop.py")
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(text, "shop.py", "exec"), names)
    return names["app"]


def ask(address: tuple[str, int]) -> bytes:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", "/", headers={"User-Agent": "me"})
    body = connection.getresponse().read()
    connection.close()
    return body


def test_a_flask_request_goes_the_way_that_the_page_tells() -> None:
    app = load_app()
    ended: greenserve.Event[None] = greenserve.Event()

    class Told(HttpProtocol):
        __slots__ = ()

        def finish(self) -> None:
            super().finish()
            ended.send()

    def find(line: Line) -> Any:
        return app.view_functions["index"].__code__ if line.file == "shop.py" else find_code(line)

    lines = read_lines()
    with running(app, protocol=Told) as run:
        greenserve.sleep(0)  # the acceptor is parked
        with record_calls() as calls:
            # In a native thread: its own calls are not recorded.
            assert greenserve.execute(ask, run.address) == b'{"agent":"me"}\n'
            ended.wait(10)
    check_calls(lines, calls, find, OFTEN)
    assert len(lines) > 30


def outer() -> None:
    inner()


def inner() -> None:
    pass


def other() -> None:
    pass


OUTER = Call(outer.__code__, frozenset())
INNER = Call(inner.__code__, frozenset({outer.__code__}))
OTHER = Call(other.__code__, frozenset())
LOCAL = "tests/docs/test_life_of_a_request.py"


def block(*names: str) -> list[Line]:
    return parse_calls(Block(1, "text", "".join(f"{name}   {LOCAL}\n" for name in names), {}))


def find_here(line: Line) -> Any:
    return globals()[line.name].__code__


def test_calls_are_recorded_with_what_they_stand_on() -> None:
    with record_calls() as calls:
        outer()
    assert [call.code for call in calls[:2]] == [outer.__code__, inner.__code__]
    assert outer.__code__ in calls[1].callers
    assert inner.__code__ not in calls[0].callers


@pytest.mark.parametrize(
    ("names", "calls"),
    [
        (["outer", "  inner"], [OUTER, INNER]),
        (["outer", "inner"], [OUTER, INNER]),
        (["outer", "  inner"], [OTHER, OUTER, OTHER, INNER, OTHER]),
        (["inner", "outer", "inner"], [INNER, OUTER, INNER]),
    ],
)
def test_calls_that_a_page_tells_right(names: list[str], calls: list[Call]) -> None:
    check_calls(block(*names), calls, find_here, frozenset())


@pytest.mark.parametrize(
    ("names", "calls", "message"),
    [
        (["outer", "inner"], [OUTER], "line 2: inner is not called"),
        (["outer", "inner"], [INNER, OUTER], "line 1: inner is called, where the page has outer"),
        (["outer", "inner"], [OUTER, INNER, INNER], "called after the page's last line: .'inner'"),
        (["outer", "  other"], [OUTER, OTHER], "line 2: other does not stand on outer"),
    ],
)
def test_calls_that_a_page_tells_wrong(names: list[str], calls: list[Call], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_calls(block(*names), calls, find_here, frozenset())


def test_what_happens_often_may_happen_in_between_and_must_happen_where_it_stands() -> None:
    often = frozenset({"other"})
    check_calls(block("outer", "other", "inner"), [OTHER, OUTER, OTHER, OTHER, INNER, OTHER], find_here, often)
    with pytest.raises(AssertionError, match="line 2: inner is called, where the page has other"):
        check_calls(block("outer", "other", "inner"), [OUTER, INNER, OTHER], find_here, often)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no file\n", "not a function with its file: 'no file'"),
        ("Missing   wsgi/run.py\n", "wsgi/run.py defines no Missing"),
        ("Run.missing   wsgi/run.py\n", "wsgi/run.py defines no Run.missing"),
        ("Response.execute   wsgi/response.py\n", "wsgi/response.py defines no Response.execute"),
        ("Run   wsgi/response.py\n", "Run in wsgi/response.py is no function"),
        ("spawn_n   wsgi/server.py\n", "spawn_n is defined in greenserve.core.greenthreads, not in wsgi/server.py"),
    ],
)
def test_a_line_that_names_nothing_is_reported(text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        for line in parse_calls(Block(1, "text", text, {})):
            find_code(line)
