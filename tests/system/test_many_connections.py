"""Thousands of connections to one process, from a client in another one: what they cost, and that nobody waits long."""

from __future__ import annotations

import resource
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import LoadProgram, memory_of
from tests.cli.running import ROOT, Command

_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(_LIMIT != resource.RLIM_INFINITY and _LIMIT < 11_000, reason="the limit of open files is low"),
]

IDLE = 10_000
SLEEPING = 5_000
REPORT_TIMEOUT = 30.0
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Command]:
    command = Command(
        "tests.system.apps:hello", "--bind", "127.0.0.1:0", "--max-size", "15000", cwd=ROOT, stderr=tmp_path / "stderr"
    )
    try:
        yield command
        assert command.stop()[0] == 0
        assert "ERROR" not in command.stderr
    finally:
        command.close()


def ask_anew(port: int) -> float:
    """Make one request on a new connection and return how many seconds it took."""
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, sock.makefile("rb") as answer:
        sock.sendall(REQUEST)
        assert answer.read().endswith(b"hello")
    return time.monotonic() - start


def hold_and_release(port: int, count: int) -> None:
    with LoadProgram("benchmarks.clients.hold", port, count) as hold:
        hold.wait_report(REPORT_TIMEOUT)
        hold.tell("end")
        hold.wait_report(REPORT_TIMEOUT)


def test_an_idle_connection_costs_little_and_delays_nobody(server: Command) -> None:
    port = server.ports[0]
    # What the first connections load and cache is no part of what one more takes.
    hold_and_release(port, 100)
    before = memory_of([server.process.pid]).resident
    with LoadProgram("benchmarks.clients.hold", port, IDLE) as hold:
        hold.wait_report(REPORT_TIMEOUT)
        seconds = [ask_anew(port) for _ in range(200)]
        each = (memory_of([server.process.pid]).resident - before) / IDLE
        hold.tell("end")  # it asks on each of its connections once more: all of them were kept
        hold.wait_report(REPORT_TIMEOUT)
    assert each <= 12 * 1024
    assert statistics.median(seconds) < 0.01
    assert max(seconds) < 0.5


def test_thousands_of_requests_wait_at_once(server: Command) -> None:
    with LoadProgram("benchmarks.clients.sleepers", server.ports[0], SLEEPING) as sleepers:
        took = sleepers.wait_report(REPORT_TIMEOUT)["seconds"]
    assert 1 <= took < 3
