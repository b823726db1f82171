from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Any

import greenlet
import pytest

from greenserve import connect, execute, get_hub, kill, sleep, spawn
from greenserve.core.waiters import WaitQueue, wait_readable
from greenserve.testing import assert_no_switch, serve, wait_until_parked


def test_wait_until_parked_lets_all_run_until_each_waits_for_what_is_to_come() -> None:
    ours, theirs = socket.socketpair()
    hub = get_hub()
    source = hub.poller.source(ours.fileno())
    queue = WaitQueue()
    reached: list[str] = []

    def pass_it_on() -> None:
        for _ in range(20):
            sleep(0)
        theirs.send(b"x")
        queue.wait()
        reached.append("queue")

    def read() -> None:
        wait_readable(source)
        reached.append("fd")
        queue.wake()
        sleep(3600)

    with ours, theirs:
        threads = [spawn(pass_it_on), spawn(read)]
        wait_until_parked()
        assert reached == ["fd", "queue"]
        for thread in threads:
            kill(thread)
        hub.close_source(source)


def test_wait_until_parked_runs_what_is_due() -> None:
    ran: list[int] = []
    get_hub().call_later(0, ran.append, 1)
    wait_until_parked()
    assert ran == [1]


def test_wait_until_parked_gives_up_on_one_that_never_parks_and_names_it() -> None:
    def never_park() -> None:
        while True:
            sleep(0)

    thread = spawn(never_park)
    with pytest.raises(TimeoutError, match=r"still run after 0.05 s\nParked:(.|\n)* in never_park"):
        wait_until_parked(0.05)
    thread.kill()


def switch() -> None:
    sleep(0)


def test_assert_no_switch_says_where_the_block_switched() -> None:
    line = switch.__code__.co_firstlineno + 1
    with pytest.raises(AssertionError, match=f"switched at {__file__}:{line} in switch"), assert_no_switch():
        switch()


def test_assert_no_switch_is_content_with_a_block_that_does_not() -> None:
    with assert_no_switch():
        spawn(int)
        get_hub().call_soon(int)
    sleep(0)


def test_assert_no_switch_lets_the_blocks_own_exception_through() -> None:
    with pytest.raises(KeyError), assert_no_switch():
        switch()
        raise KeyError


def test_assert_no_switch_leaves_another_trace_function_as_it_was() -> None:
    events: list[Any] = []

    def trace(event: Any, args: Any) -> None:
        events.append(event)

    greenlet.settrace(trace)
    try:
        with pytest.raises(AssertionError), assert_no_switch():
            switch()
        assert greenlet.gettrace() is trace
        assert "switch" in events
    finally:
        greenlet.settrace(None)


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def fetch(address: tuple[str, int], path: str) -> bytes:
    with connect(address) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return sock.makefile("rb").read()


def fetch_natively(address: tuple[str, int], path: str) -> bytes:
    with socket.create_connection(address, 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return sock.makefile("rb").read()


def test_serve_answers_green_clients_and_those_of_other_os_threads() -> None:
    with serve(app) as address:
        assert fetch(address, "/green").endswith(b"\r\n\r\n/green")
        assert execute(fetch_natively, address, "/native").endswith(b"\r\n\r\n/native")


def test_serve_takes_the_servers_keywords() -> None:
    with serve(app, limit_request_line=1000) as address:
        assert fetch(address, "/" + "x" * 1000).startswith(b"HTTP/1.1 414 ")


def test_serve_closes_its_listener_when_a_keyword_is_wrong() -> None:
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(TypeError, match="no keyword nonsense"), serve(app, nonsense=True):
        pass
    assert len(os.listdir("/dev/fd")) == before


def test_serve_ends_with_its_block_and_cuts_off_what_is_open() -> None:
    with serve(app) as address:
        idle = connect(address)
        wait_until_parked()
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        connect(address)


def test_serve_leaves_no_fd_open() -> None:
    with serve(app) as address:
        fetch(address, "/")
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with serve(app) as address:
            fetch(address, "/")
    assert len(os.listdir("/dev/fd")) == before
