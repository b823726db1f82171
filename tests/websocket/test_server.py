"""WebSockets as WSGI applications, on a real server in this process."""

from __future__ import annotations

import io
import logging

import flask
import flask_sock
import pytest
import simple_websocket

import greenserve
from greenserve.errors import ConnectionClosed
from greenserve.websocket import WebSocketWSGI, websocket
from tests.certificates import serving_context
from tests.websocket.peers import (
    ACCEPT,
    BINARY,
    CLOSE,
    FINAL,
    TEXT,
    UPGRADE,
    RawPeer,
    close_payload,
    frame,
    in_green,
    upgrade,
)
from tests.wsgi.raw import get, running
from tests.wsgi.secure import connect as connect_tls


@websocket
def echo(ws):
    for message in ws:
        ws.send(message)


def test_a_handler_answers_on_whatever_path_it_is_mounted():
    with running(echo) as run:
        peer = RawPeer(run.connect(), "/any/where?x=1")
        assert peer.status == b"HTTP/1.1 101 Switching Protocols"
        assert dict(peer.fields)[b"Sec-WebSocket-Accept"] == ACCEPT.encode()
        peer.send(frame(TEXT, b"a"))
        assert peer.read_frame() == (FINAL | TEXT, b"a")
        peer.send(frame(BINARY, b"b" * 200_000))
        assert peer.read_frame() == (FINAL | BINARY, b"b" * 200_000)
        peer.send(frame(CLOSE, close_payload(1000)))
        assert peer.read_close() == (1000, "")
        assert peer.is_closed()


def test_frames_that_came_with_the_request_are_not_lost():
    with running(echo) as run:
        peer = RawPeer(run.connect(), early=frame(TEXT, b"early"))
        assert peer.read_frame() == (FINAL | TEXT, b"early")


def test_a_handler_knows_the_request():
    seen = []

    @websocket(subprotocols=["chat"])
    def handler(ws):
        seen.append(
            (ws.path, ws.origin, ws.protocol, ws.version, ws.environ["QUERY_STRING"], ws.environ["HTTP_COOKIE"])
        )

    with running(handler) as run:
        fields = ("Origin: https://example.org", "Sec-WebSocket-Protocol: log, chat", "Cookie: a=b")
        peer = RawPeer(run.connect(), "/room/7?key=1", *fields)
        assert dict(peer.fields)[b"Sec-WebSocket-Protocol"] == b"chat"
        assert peer.read_close() == (1000, "")
    assert seen == [("/room/7", "https://example.org", "chat", 13, "key=1", "a=b")]


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (get("/"), 400, b"WebSocket client"),
        (get("/", method="POST", body=b""), 405, b"WebSocket client"),
        (get("/", *UPGRADE[:2]), 400, b"must be 13"),
        (upgrade("/", "Origin: https://evil.example"), 403, b"https://evil.example"),
        (upgrade("/", "Sec-WebSocket-Extensions: ;;"), 400, b"Sec-WebSocket-Extensions"),
    ],
)
def test_what_is_no_websocket_gets_an_answer_and_keeps_its_connection(request_, code, words):
    app = WebSocketWSGI(lambda ws: None, origins=["https://example.org"], compression=True)
    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            answer = client.ask(request_)
            assert answer.code == code
            assert words in answer.body
            assert answer.fields["content-type"] == "text/plain; charset=utf-8"


def test_a_handler_that_fails_is_logged_and_its_client_told(caplog):
    @websocket
    def handler(ws):
        raise KeyError("a bug")

    with running(handler) as run:
        peer = RawPeer(run.connect())
        assert peer.read_close() == (1011, "")
        peer.send(frame(CLOSE, close_payload(1011)))
        peer.close()
        while run.server.connections:
            greenserve.sleep(0)
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info[0] is KeyError


def test_a_client_that_vanishes_is_no_failure(caplog):
    @websocket
    def handler(ws):
        ws.receive()

    with running(handler) as run:
        peer = RawPeer(run.connect())
        peer.file.close()
        peer.sock.abort()
        while run.server.connections:
            greenserve.sleep(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_access_log_has_a_line_for_each_connection():
    lines = io.StringIO()
    with running(echo, log=lines) as run:
        peer = RawPeer(run.connect(), "/log")
        peer.send(frame(CLOSE))
        assert peer.is_closed() is False  # there is a close frame to read
        peer.close()
        while run.server.connections:
            greenserve.sleep(0)
    assert '"GET /log HTTP/1.1" 101 ' in lines.getvalue()


def test_a_graceful_stop_says_1001_and_waits_for_the_goodbye():
    ended = []

    @websocket
    def handler(ws):
        ended.append((list(ws), ws.close_code))

    with running(handler) as run:
        peers = [RawPeer(run.connect()) for _ in range(3)]
        run.server.stop(5)
        for peer in peers:
            assert peer.read_close() == (1001, "the server is stopping")
            peer.send(frame(CLOSE, close_payload(1001)))
            assert peer.is_closed()
            peer.close()
        run.server.join()
    assert ended == [([], 1001)] * 3


def test_a_client_that_ignores_the_goodbye_does_not_keep_the_server_from_stopping():
    with running(WebSocketWSGI(list, close_timeout=0.05)) as run:
        peer = RawPeer(run.connect())
        run.server.stop(5)
        with greenserve.Timeout(4):
            run.server.join()
        assert peer.read_close()[0] == 1001


def test_it_works_over_tls():
    with running(echo, ssl_context=serving_context()) as run:
        peer = RawPeer(connect_tls(run))
        message = b"x" * 100_000
        sending = in_green(peer.send, frame(BINARY, message, mask=b"\0\0\0\0") * 3)
        assert [peer.read_frame() for _ in range(3)] == [(FINAL | BINARY, message)] * 3
        sending.wait(5)
        peer.send(frame(CLOSE, close_payload(1000)))
        assert peer.read_close() == (1000, "")
        assert peer.is_closed()


def test_one_connection_talks_to_the_others():
    everybody = []

    @websocket
    def chat(ws):
        everybody.append(ws)
        for message in ws:
            for other in everybody:
                other.send(message)

    with running(chat) as run:
        peers = [RawPeer(run.connect()) for _ in range(5)]
        while len(everybody) < 5:
            greenserve.sleep(0)
        peers[0].send(frame(TEXT, b"hello"))
        assert [peer.read_frame() for peer in peers] == [(FINAL | TEXT, b"hello")] * 5


def test_the_failure_of_another_connection_closes_this_one_in_order():
    @websocket
    def handler(ws):
        raise ConnectionClosed(1006, "the other side of a bridge")

    with running(handler) as run:
        assert RawPeer(run.connect()).read_close() == (1000, "")


def test_a_flask_view_may_be_a_websocket():
    app = flask.Flask("guest")

    @app.route("/<room>", websocket=True)
    def view(room):
        @websocket
        def handler(ws):
            ws.send(room)

        return handler

    with running(app) as run:
        peer = RawPeer(run.connect(), "/blue")
        assert peer.read_frame() == (FINAL | TEXT, b"blue")
        assert peer.read_close() == (1000, "")


def test_another_server_is_refused_with_what_to_do():
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (each.split(": ") for each in UPGRADE)},
    }
    with pytest.raises(RuntimeError, match="greenserve's server"):
        echo(environ, lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"handler": None}, TypeError),
        ({"origins": "https://example.org"}, TypeError),
        ({"subprotocols": "chat"}, TypeError),
        ({"max_message_size": -1}, ValueError),
        ({"nonsense": 1}, TypeError),
    ],
)
def test_arguments_that_make_no_sense_are_refused_when_it_is_made(arguments, error):
    with pytest.raises(error):
        WebSocketWSGI(**{"handler": print, **arguments})


# What others make of the connection ---------------------------------------------------------------------------------


def simple(environ, start_response):
    """simple-websocket, which reads in a thread of its own; with pings it waits in a selector first."""
    ws = simple_websocket.Server.accept(environ, ping_interval=25)
    received = greenserve.execute(ws.receive)
    greenserve.execute(ws.send, received)
    greenserve.execute(ws.close)
    return []


def through_flask_sock():
    app = flask.Flask("guest")
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25}
    sock = flask_sock.Sock(app)

    @sock.route("/")
    def view(ws):
        ws.send(greenserve.execute(ws.receive))

    return app


@pytest.mark.parametrize("app", [simple, through_flask_sock()], ids=["simple-websocket", "flask-sock"])
def test_a_frame_that_came_with_the_request_is_seen_by_a_native_thread_that_selects(app):
    with running(app) as run:
        peer = RawPeer(run.connect(), early=frame(TEXT, b"early"))
        assert peer.read_frame() == (FINAL | TEXT, b"early")


@pytest.mark.parametrize("app", [simple, through_flask_sock()], ids=["simple-websocket", "flask-sock"])
def test_a_record_of_tls_that_is_larger_than_a_read_is_seen_to_its_end_by_a_native_thread_that_selects(app):
    with running(app, ssl_context=serving_context()) as run:
        peer = RawPeer(connect_tls(run))
        peer.send(frame(TEXT, b"x" * 10_000))
        assert peer.read_frame() == (FINAL | TEXT, b"x" * 10_000)
