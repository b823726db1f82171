"""The accept queue: how long it is, and the warning when it is half full."""

from __future__ import annotations

import socket
import sys

import pytest

from greenserve._originals import base_socket
from greenserve.metrics.backlog import AcceptQueue, BacklogWatch, accept_queue

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems don't tell")


@pytest.fixture
def listener():
    sock = base_socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(8)
    yield sock
    sock.close()


@pytest.fixture
def connect(listener):
    clients = []

    def connect(count):
        for _ in range(count):
            client = base_socket(socket.AF_INET, socket.SOCK_STREAM)
            client.connect(listener.getsockname())
            clients.append(client)

    yield connect
    for client in clients:
        client.close()


def test_the_queue_is_what_waits_and_what_may(listener, connect):
    assert accept_queue(listener) == AcceptQueue(0, 8)
    connect(3)
    assert accept_queue(listener) == AcceptQueue(3, 8)


def test_a_closed_socket_has_no_queue(listener):
    listener.close()
    assert accept_queue(listener) is None


def test_that_of_a_unix_socket_is_unknown(tmp_path):
    sock = base_socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(tmp_path / "socket"))
        sock.listen(8)
        assert accept_queue(sock) is None
    finally:
        sock.close()


def test_half_a_queue_is_warned_of_once_a_minute(listener, connect, caplog):
    watch = BacklogWatch(lambda: [-1, listener.fileno()])
    connect(3)
    watch.look(100.0)
    assert caplog.messages == []
    connect(1)
    watch.look(101.0)
    watch.look(160.0)
    assert [message[:56] for message in caplog.messages] == ["4 connections wait to be accepted, of the 8 that the sys"]
    watch.look(162.0)
    assert len(caplog.messages) == 2


def test_a_listener_that_was_closed_is_passed_over(listener, caplog):
    fd = listener.fileno()
    listener.close()
    BacklogWatch(lambda: [fd]).look(1.0)
    assert caplog.messages == []
