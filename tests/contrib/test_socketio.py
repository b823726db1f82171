"""The driver for python-socketio and Flask-SocketIO, in this process, with python-socketio's own client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

import flask_socketio
import pytest
import socketio
from flask import Flask, request

import greenserve
from greenserve import websocket
from greenserve.contrib import socketio as contrib
from greenserve.contrib.flask_socketio import SocketIO
from greenserve.testing import serve, wait_until_parked

DEADLINE = 20.0

TRANSPORTS = pytest.mark.parametrize(
    ("transports", "in_the_end"),
    [(["polling"], "polling"), (["websocket"], "websocket"), (None, "websocket")],
    ids=["polling", "websocket", "upgrade"],
)


def visit(url: str, transports: list[str] | None, talk: Callable[[socketio.Client], Any], **headers: str) -> Any:
    """Connect in a native thread, as another process would, and return what ``talk(client)`` does."""

    def run() -> Any:
        client = socketio.Client(reconnection=False)
        client.connect(url, transports=transports, headers=headers, wait_timeout=DEADLINE)
        try:
            return talk(client)
        finally:
            client.eio.queue.join()  # else by polling it may leave without a good-bye, and wait for the next ping
            client.disconnect()
            client.eio.wait()  # its own wait() sleeps for a second

    return greenserve.execute(run)


@pytest.fixture
def url() -> Iterator[str]:
    sio = contrib.Server()

    @sio.event
    def echo(sid: str, data: Any) -> Any:
        return data

    @sio.event
    def enter(sid: str, room: str) -> None:
        sio.enter_room(sid, room)
        sio.emit("entered", sid, room=room)

    @sio.event
    def leave(sid: str) -> None:
        sio.disconnect(sid)

    @sio.event
    def describe(sid: str) -> list[str]:
        return [sio.async_mode, sio.transport(sid), sio.get_environ(sid)["HTTP_X_MINE"]]

    with serve(socketio.WSGIApp(sio)) as (host, port):
        yield f"http://{host}:{port}"
    sio.shutdown()


@TRANSPORTS
def test_messages_go_both_ways(url: str, transports: list[str] | None, in_the_end: str) -> None:
    def talk(client: socketio.Client) -> list[Any]:
        sent = ["text", {"deep": [1, None, "ü"]}, b"\x00\xff", "x" * 300_000, b"y" * 300_000]
        return [client.call("echo", value, timeout=DEADLINE) == value for value in sent]

    assert visit(url, transports, talk) == [True] * 5


@TRANSPORTS
def test_a_handler_sees_the_fields_of_the_handshake(url: str, transports: list[str] | None, in_the_end: str) -> None:
    def talk(client: socketio.Client) -> Any:
        return client.call("describe", timeout=DEADLINE)

    assert visit(url, transports, talk, **{"X-Mine": "1, 2"}) == ["greenserve", in_the_end, "1, 2"]


def test_a_room_hears_of_who_enters(url: str) -> None:
    def talk(client: socketio.SimpleClient) -> list[Any]:
        other = socketio.SimpleClient()
        other.connect(url)
        heard = []
        try:
            for each in (client, other):
                each.emit("enter", "kitchen")
                heard.append(client.receive(timeout=DEADLINE) == ["entered", each.sid])
            return [*heard, other.receive(timeout=DEADLINE) == ["entered", other.sid]]
        finally:
            other.disconnect()

    def run() -> list[Any]:
        client = socketio.SimpleClient()
        client.connect(url)
        try:
            return talk(client)
        finally:
            client.disconnect()

    assert greenserve.execute(run) == [True, True, True]


def test_a_handler_can_disconnect_its_client(url: str) -> None:
    with websocket.connect(f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket") as ws:
        assert ws.receive(DEADLINE)[0] == "0"  # engineio: open
        ws.send("40")  # socketio: connect
        assert ws.receive(DEADLINE)[:2] == "40"
        ws.send('42["leave"]')
        assert ws.receive(DEADLINE) == "41"  # socketio: disconnect


def test_a_message_over_the_limit_ends_the_connection(url: str) -> None:
    with websocket.connect(f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket") as ws:
        assert ws.receive(DEADLINE)[0] == "0"
        ws.send("42" + "x" * 1_100_000)  # engineio's own limit is a million
        with pytest.raises(websocket.ConnectionClosed) as caught:
            ws.receive(DEADLINE)
    assert caught.value.code == 1009


def test_a_request_for_a_websocket_that_is_none_is_refused(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")

    def ask() -> bytes:
        with greenserve.connect((host, int(port))) as sock:
            sock.settimeout(DEADLINE)
            fields = "Host: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n"
            sock.sendall(f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{fields}\r\n".encode())
            return sock.makefile("rb").readline()

    assert ask().split()[1] in (b"400", b"426")


def test_the_mode_is_chosen_by_name_and_changes_nothing_for_others() -> None:
    contrib.register()
    contrib.register()
    assert socketio.Server(async_mode="greenserve").async_mode == "greenserve"
    assert socketio.Server(async_mode="threading").async_mode == "threading"
    modes = socketio.Server(async_mode="threading").eio.async_modes()
    assert modes[-1] == "greenserve"
    assert modes.count("greenserve") == 1
    assert "engineio.async_drivers.greenserve" in sys.modules


def test_the_servers_own_tools_are_green() -> None:
    sio = contrib.Server()
    queue, event, seen = sio.eio.create_queue(), sio.eio.create_event(), []

    def work(first: int, second: int = 0) -> None:
        event.wait()
        seen.append((first, second))
        queue.put("done")

    thread = sio.start_background_task(work, 1, second=2)
    wait_until_parked()
    assert (event.is_set(), event.wait(timeout=0.01), seen) == (False, False, [])
    event.set()
    assert queue.get(timeout=DEADLINE) == "done"
    thread.join()
    assert (event.is_set(), event.wait(timeout=DEADLINE), seen) == (True, True, [(1, 2)])
    event.clear()
    assert event.is_set() is False
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    sio.sleep(0)


def test_an_event_can_be_set_by_another_os_thread() -> None:
    event = contrib.Event()
    waiting = greenserve.spawn(event.wait, DEADLINE)
    wait_until_parked()
    greenserve.execute(event.set)
    assert waiting.wait(DEADLINE) is True


def test_the_failure_of_a_task_is_logged_and_not_raised_by_join(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError("of the task")

    thread = contrib.Server().start_background_task(fail)
    thread.join()
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


@pytest.fixture
def flask_app() -> Iterator[tuple[Flask, SocketIO]]:
    app = Flask(__name__)
    sio = SocketIO(app)

    @app.get("/")
    def index() -> str:
        return "of Flask"

    @sio.on("describe")
    def describe() -> list[str]:
        return [request.headers["X-Mine"], sio.async_mode]

    @sio.on("end")
    def end() -> None:
        sio.stop()

    yield app, sio
    sio.server.shutdown()


@TRANSPORTS
def test_flask_socketio_runs_and_stops(
    flask_app: tuple[Flask, SocketIO], transports: list[str] | None, in_the_end: str
) -> None:
    app, sio = flask_app
    listener = greenserve.listen(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    running = greenserve.spawn(sio.run, app, port=port, graceful_timeout=0.1)
    wait_until_parked()

    def talk(client: socketio.Client) -> Any:
        return client.call("describe", timeout=DEADLINE)

    assert visit(f"http://127.0.0.1:{port}", transports, talk, **{"X-Mine": "7"}) == ["7", "greenserve"]
    with websocket.connect(f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket") as ws:
        ws.send("40")
        ws.send('42["end"]')  # the handler stops the server
        running.wait(DEADLINE)


def test_flask_socketio_takes_another_mode_too() -> None:
    assert SocketIO(Flask(__name__), async_mode="threading").async_mode == "threading"
    assert SocketIO(Flask(__name__), async_mode=None).async_mode == "greenserve"
    assert contrib.Server(async_mode=None).async_mode == "greenserve"
    later = SocketIO()
    later.init_app(Flask(__name__))
    assert (later.async_mode, isinstance(later, flask_socketio.SocketIO)) == ("greenserve", True)


def test_the_port_is_that_of_the_servers_name(flask_app: tuple[Flask, SocketIO]) -> None:
    app, sio = flask_app
    listener = greenserve.listen(("127.0.0.1", 0))
    app.config["SERVER_NAME"] = f"localhost:{listener.getsockname()[1]}"
    with listener, pytest.raises(OSError, match=app.config["SERVER_NAME"].partition(":")[2]):
        sio.run(app)  # it is in use
