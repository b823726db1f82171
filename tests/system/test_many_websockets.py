"""Thousands of WebSockets in one process: what they hold, and how soon one message has come to all of them."""

from __future__ import annotations

import resource

import pytest

from benchmarks.processes import LoadProgram
from benchmarks.serving import RunningServer, serving
from benchmarks.websocket import OURS

_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        _LIMIT[1] != resource.RLIM_INFINITY and _LIMIT[1] < 6_000, reason="the limit of open files is low"
    ),
]

HELD = 5_000
MESSAGE = 200  # bytes
TIMEOUT = 90.0


@pytest.fixture(autouse=True)
def _as_many_files_as_allowed():
    resource.setrlimit(resource.RLIMIT_NOFILE, (_LIMIT[1], _LIMIT[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, _LIMIT)


def hold(running: RunningServer, count: int, *more: str) -> LoadProgram:
    return LoadProgram("benchmarks.clients.websockets", running.port, "hold", count, MESSAGE, 0, *more)


@pytest.mark.parametrize(("app", "more", "kilobytes"), [("echo", (), 25), ("deflated", ("--deflate",), 70)])
def test_five_thousand_hold_little_and_hear_a_message_to_all_soon(app, more, kilobytes):
    with serving(OURS, app) as running:
        # What the first connections load and cache is no part of what one more takes.
        with hold(running, 100, *more) as few:
            few.wait_report(TIMEOUT)
        before = running.memory().resident
        with hold(running, HELD, *more) as many:
            many.wait_report(TIMEOUT)
            each = (running.memory().resident - before) / HELD
            many.tell("go")
            took = many.wait_report(TIMEOUT)["seconds"]
        assert running.count_errors() == 0
    assert each <= kilobytes * 1024
    assert took < 0.5
