"""Readiness in the hub: select, poll and epoll objects give what the system's own give, while others run."""

from __future__ import annotations

import os
import select as native
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

import greenserve
from greenserve.green import select

WAIT = 0.02


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def test_select_wakes_when_another_green_thread_writes(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    greenserve.spawn_after(WAIT, os.write, write_end, b"x")
    assert select.select([read_end], [], [], 10) == ([read_end], [], [])


def test_select_gives_up_after_its_timeout(pipe: tuple[int, int]) -> None:
    assert select.select([pipe[0]], [], [], WAIT) == ([], [], [])
    assert select.select([pipe[0]], [pipe[1]], [], 0) == ([], [pipe[1]], [])


def test_select_waits_for_exceptional_conditions() -> None:
    client, server = connected()
    with client, server:
        assert select.select([], [], [server], WAIT) == ([], [], [])
        greenserve.spawn_after(WAIT, client.send, b"!", socket.MSG_OOB)
        assert select.select([], [], [server], 10) == ([], [], [server])


def test_a_hang_up_that_select_does_not_count_leaves_it_waiting() -> None:
    client, server = connected()
    with server:
        client.close()
        turns = 0

        def count() -> None:
            nonlocal turns
            for _ in range(10):
                turns += 1
                greenserve.sleep(WAIT / 10)

        greenserve.spawn(count)
        assert select.select([], [], [server], WAIT) == ([], [], [])
        assert turns > 1


@pytest.mark.parametrize(
    ("lists", "timeout", "error"),
    [
        (([-1], [], []), 1, ValueError),
        (([], [], []), -1, ValueError),
        (([], [], []), "1", TypeError),
        ((1, [], []), 1, TypeError),
        (([object()], [], []), 1, TypeError),
    ],
)
def test_select_refuses_what_the_system_refuses(lists: tuple[object, ...], timeout: object, error: type) -> None:
    with pytest.raises(error):
        native.select(*lists, timeout)
    with pytest.raises(error):
        select.select(*lists, timeout)


def test_a_closed_fd_is_an_error_for_select() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(OSError, match="Bad file descriptor"):
        select.select([read_end], [], [], 1)


def test_poll_wakes_and_reports_events(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    poll = select.poll()
    poll.register(read_end, native.POLLIN)
    assert poll.poll(WAIT * 1000) == []
    greenserve.spawn_after(WAIT, os.write, write_end, b"x")
    assert poll.poll() == [(read_end, native.POLLIN)]
    poll.modify(read_end, native.POLLOUT)
    assert poll.poll(0) == []
    poll.unregister(read_end)
    with pytest.raises(KeyError):
        poll.unregister(read_end)


def test_poll_reports_a_hang_up_that_nobody_asked_for() -> None:
    read_end, write_end = os.pipe()
    try:
        poll = select.poll()
        poll.register(read_end, 0)
        greenserve.spawn_after(WAIT, os.close, write_end)
        assert poll.poll(10_000) == [(read_end, native.POLLHUP)]
    finally:
        os.close(read_end)


def test_two_green_threads_cant_poll_one_object_at_once(pipe: tuple[int, int]) -> None:
    poll = select.poll()
    poll.register(pipe[0], native.POLLIN)
    other = greenserve.spawn(poll.poll, WAIT * 1000)
    greenserve.sleep(0)
    with pytest.raises(RuntimeError, match="concurrent"):
        poll.poll(0)
    assert other.wait() == []


@pytest.mark.skipif(not hasattr(native, "epoll"), reason="this system has no epoll")
def test_epoll_waits_in_the_hub_and_ends_with_close(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    with closing(select.epoll()) as epoll:
        epoll.register(read_end, native.EPOLLIN)
        assert epoll.poll(WAIT) == []
        greenserve.spawn_after(WAIT, os.write, write_end, b"x")
        assert epoll.poll(10) == [(read_end, native.EPOLLIN)]
        epoll.unregister(read_end)
        waiting = greenserve.spawn(epoll.poll)
        greenserve.sleep(0)
    with pytest.raises(OSError, match="closed"):
        waiting.wait()
    with pytest.raises(ValueError, match="closed"):
        epoll.poll(0)
