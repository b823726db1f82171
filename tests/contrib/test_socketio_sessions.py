"""Sessions of Socket.IO that say whose they are, and that end with the server."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import socketio
from flask import Flask

import greenserve
from greenserve import websocket
from greenserve._bus.place import Place, number_in, take_place
from greenserve.contrib import socketio as contrib
from greenserve.contrib.flask_socketio import SocketIO
from greenserve.testing import wait_until_parked
from greenserve.wsgi.server import Server

DEADLINE = 20.0


@pytest.fixture
def _place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_GREENSERVE_WORKER", "")  # so that it is as before in the end
    take_place(Place(3, "/nowhere"))


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize(
    "make",
    [
        contrib.Server,
        lambda: socketio.Server(async_mode="threading", client_manager=contrib.LocalManager("/nowhere")),
        lambda: SocketIO(Flask(__name__)).server,
        lambda: SocketIO(Flask(__name__), async_mode="threading", client_manager=contrib.LocalManager()).server,
    ],
    ids=["ours", "plain with our manager", "Flask's", "Flask's with threads and our manager"],
)
def test_a_session_has_the_number_of_the_worker_once(make: Any) -> None:
    sid = make().eio.generate_id()
    assert re.fullmatch(r"[\w-]{20}\.3", sid)
    assert number_in(f"EIO=4&transport=polling&sid={sid}") == 3


def test_where_there_are_no_workers_a_session_has_no_number() -> None:
    assert re.fullmatch(r"[\w-]{20}", contrib.Server().eio.generate_id())


class Running:
    """A server with a Socket.IO, whose handlers note who left."""

    def __init__(self) -> None:
        self.sio = contrib.Server()
        self.left: list[str] = []
        self.sio.on("disconnect", lambda sid, *_: self.left.append(sid))
        listener = greenserve.listen(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.server = Server(listener, socketio.WSGIApp(self.sio), graceful_timeout=DEADLINE)
        self.server.start()


@pytest.fixture
def running() -> Iterator[Running]:
    found = Running()
    yield found
    found.server.stop(0)
    found.server.join()
    found.sio.shutdown()


@contextmanager
def polling(port: int) -> Iterator[tuple[str, http.client.HTTPConnection]]:
    """Connect a client that polls, with a connection of its own, and give its path."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    connection.sock = greenserve.connect(("127.0.0.1", port))
    try:
        path = "/socket.io/?EIO=4&transport=polling"
        path += f"&sid={json.loads(ask(connection, 'GET', path)[1:])['sid']}"
        ask(connection, "POST", path, "40")
        assert ask(connection, "GET", path).startswith("40{")
        yield path, connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> str:
    connection.request(method, path, body)
    return connection.getresponse().read().decode()


def test_who_polls_is_let_go_when_the_server_stops_and_its_handlers_are_told(running: Running) -> None:
    with polling(running.port) as (path, connection), polling(running.port) as (_, idle):
        poll = greenserve.spawn(ask, connection, "GET", path)
        wait_until_parked()
        running.server.stop()
        assert poll.wait(DEADLINE) == "6"  # a packet that says nothing: the client comes again
        idle.close()
        running.server.join()
    assert len(running.left) == 1  # the other one had no request running


def test_a_websocket_ends_when_the_server_stops_and_its_handlers_are_told_once(running: Running) -> None:
    with websocket.connect(f"ws://127.0.0.1:{running.port}/socket.io/?EIO=4&transport=websocket") as ws:
        ws.receive(DEADLINE)
        ws.send("40")
        ws.receive(DEADLINE)
        running.server.stop()
        with pytest.raises(websocket.ConnectionClosed):
            while ws.receive(DEADLINE) == "6":
                pass
    running.server.join()
    assert len(running.left) == 1
