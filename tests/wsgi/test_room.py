"""What happens when as many connections are open as may be."""

from __future__ import annotations

import pytest

import greenserve
from tests.wsgi.raw import get, running


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"Hello"]


def test_who_has_been_idle_for_longest_makes_room_for_a_newcomer(caplog):
    with running(hello, max_size=3) as run, greenserve.Timeout(20):
        silent, second, third = run.connect(), run.connect(), run.connect()
        assert second.ask(get()).body == b"Hello"
        assert third.ask(get()).body == b"Hello"
        assert second.ask(get()).body == b"Hello"
        newcomer = run.connect()
        assert newcomer.ask(get()).body == b"Hello"  # a second later, when there is somebody idle for so long
        assert silent.is_closed()
        assert run.connect().ask(get()).body == b"Hello"
        assert third.is_closed()
        assert second.ask(get()).body == b"Hello"
        assert len(run.server.connections) == 3
    assert [record.getMessage() for record in caplog.records if "max_size" in record.getMessage()] == [
        "3 connections are open, the most that max_size allows: for more, idle ones close, or they wait in the backlog"
    ]


def test_a_crowd_of_idle_connections_locks_nobody_out():
    with running(hello, max_size=20) as run, greenserve.Timeout(30):
        crowd = [run.connect() for _ in range(60)]
        assert run.connect().ask(get()).body == b"Hello"
        assert sum(client in run.clients for client in crowd) == 60


def test_connections_at_work_are_never_closed_for_others():
    go_on, entered = greenserve.Event(), greenserve.Queue()

    def app(environ, start_response):
        entered.put(1)
        go_on.wait()
        return hello(environ, start_response)

    with running(app, max_size=2) as run, greenserve.Timeout(20):
        working = [run.connect(), run.connect()]
        for client in working:
            client.send(get())
            entered.get()
        newcomer = run.connect()
        newcomer.send(get())
        with pytest.raises(greenserve.Timeout), greenserve.Timeout(1.5):
            entered.get()
        go_on.send()
        assert [client.read().body for client in working] == [b"Hello", b"Hello"]
        assert newcomer.read().body == b"Hello"


def test_without_a_newcomer_nobody_has_to_go():
    with running(hello, max_size=2) as run, greenserve.Timeout(20):
        clients = [run.connect(), run.connect()]
        for client in clients:
            client.ask(get())
        with pytest.raises(TimeoutError):
            clients[0].sock.settimeout(1.3)
            clients[0].sock.recv(1)
        assert len(run.server.connections) == 2


def test_a_stop_ends_the_wait_for_room():
    with running(hello, max_size=1) as run, greenserve.Timeout(20):
        first = run.connect()
        assert first.ask(get()).body == b"Hello"
        waiting = run.connect()
        waiting.send(get())
        run.server.stop()
        assert waiting.read().body == b"Hello"  # the system has accepted it, and so it is served
        run.server.join()
