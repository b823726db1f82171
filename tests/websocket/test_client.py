"""`connect`, to our own server and to servers that answer what they are told to."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

import greenserve
from greenserve.errors import HandshakeError
from greenserve.net import socketpair
from greenserve.websocket import Deflate, WebSocketWSGI, connect, websocket
from greenserve.websocket.codec import ClientHandshake
from greenserve.websocket.handshake import accept_key
from tests.certificates import asking_context, serving_context
from tests.websocket.peers import in_green
from tests.wsgi.raw import running


@contextmanager
def answering(answer):
    """An address that gives ``answer`` to whatever request comes."""
    requests = []
    ended = greenserve.Semaphore(0)

    def handle(conn, address):
        with conn:
            requests.append(conn.recv(65536))
            conn.sendall(answer)
            conn.recv(65536)
        ended.release()

    with greenserve.listen(("127.0.0.1", 0)) as listener:
        serving = greenserve.spawn(greenserve.serve, listener, handle)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/path", requests
        ended.acquire(timeout=5)
    serving.wait(5)


def url_of(run, scheme="ws"):
    host = "localhost" if scheme == "wss" else "127.0.0.1"
    return f"{scheme}://{host}:{run.address[1]}/"


@websocket
def echo(ws):
    for message in ws:
        ws.send(message)


MESSAGES = ["é", b"\xff", "", b"", "x" * 100_000, b"y" * 1_000_000]


def test_messages_go_there_and_back():
    with running(echo) as run, connect(url_of(run)) as ws:
        for message in MESSAGES:
            sending = in_green(ws.send, message)
            assert ws.receive(5) == message
            sending.wait(5)
        ws.send(iter(["a", "b", "c"]))
        assert ws.receive(5) == "abc"


def test_over_tls_the_certificate_is_checked():
    with running(echo, ssl_context=serving_context()) as run:
        with connect(url_of(run, "wss"), ssl_context=asking_context()) as ws:
            for message in MESSAGES:
                sending = in_green(ws.send, message)
                assert ws.receive(5) == message
                sending.wait(5)
        with pytest.raises(OSError, match="certificate"):
            connect(url_of(run, "wss"))


@pytest.mark.parametrize("compression", [True, Deflate(keep_context=False), Deflate(15, 9)])
def test_messages_are_compressed_if_both_sides_want_it(compression):
    with running(WebSocketWSGI(echo.handler, compression=True)) as run:
        with connect(url_of(run), compression=compression) as ws:
            for message in [*MESSAGES, *MESSAGES]:
                sending = in_green(ws.send, message)
                assert ws.receive(5) == message
                sending.wait(5)
        with connect(url_of(run)) as ws:
            ws.send("plain")
            assert ws.receive(5) == "plain"
    with running(echo) as run, connect(url_of(run), compression=compression) as ws:
        ws.send("plain")
        assert ws.receive(5) == "plain"


@pytest.mark.parametrize(
    ("answered", "bits"),
    [("", 11), ("; client_max_window_bits=9", 9), ("; client_max_window_bits=15", 11)],
)
def test_a_server_may_name_the_window_and_ours_is_no_larger_than_was_asked_for(answered, bits):
    handshake = ClientHandshake(
        "ws://example.org/", origin=None, subprotocols=[], headers={}, deflate=Deflate(), max_message_size=1000
    )
    assert b"permessage-deflate; server_max_window_bits=11; client_max_window_bits\r\n" in handshake.request
    [key] = re.findall(rb"Sec-WebSocket-Key: (\S+)", handshake.request)
    codec = handshake.receive(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_key(key.decode()).encode()
        + b"\r\nSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10"
        + answered.encode()
        + b"\r\n\r\n"
    )
    [extension] = codec._protocol.extensions
    assert (extension.local_max_window_bits, extension.remote_max_window_bits) == (bits, 10)


def test_the_request_says_what_it_is_told_to():
    seen = []

    @websocket(subprotocols=["b", "a"])
    def handler(ws):
        environ = ws.environ
        seen.append([ws.origin, environ["HTTP_COOKIE"], environ["HTTP_AUTHORIZATION"], environ["QUERY_STRING"]])
        ws.send(ws.protocol)

    with running(handler) as run:
        url = f"ws://ann:secret@127.0.0.1:{run.address[1]}/x?y=1"
        headers = {"Cookie": "c=d"}
        with connect(url, origin="https://example.org", headers=headers, subprotocols=["a", "b"]) as ws:
            assert (ws.protocol, ws.path) == ("b", "/x?y=1")
            assert list(ws) == ["b"]
            assert ws.close_code == 1000
    assert seen == [["https://example.org", "c=d", "Basic YW5uOnNlY3JldA==", "y=1"]]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 101),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n", 101),
        (b"SSH-2.0-OpenSSH_9.0\r\n", None),
        (b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 1000 + b"\r\n", None),
    ],
)
def test_a_server_that_does_not_want_to_is_told_of_with_its_status(answer, status):
    with answering(answer) as (url, requests):
        with pytest.raises(HandshakeError, match=r"127\.0\.0\.1") as caught:
            connect(url)
        assert caught.value.status == status
        assert isinstance(caught.value, OSError)
        assert requests[0].startswith(b"GET /path HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_server_that_closes_without_an_answer_is_an_error():
    ours, theirs = socketpair()
    theirs.close()
    with pytest.raises(OSError):  # noqa: PT011 - a reset or an end, as the system has it
        connect("ws://localhost/", sock=ours)
    assert ours.fileno() == -1


def test_everything_has_one_deadline():
    with greenserve.listen(("127.0.0.1", 0)) as listener, pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        connect(f"ws://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.05)


def test_nobody_there_is_an_error_of_the_systems():
    with greenserve.listen(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["http://example.org/", "ws:", "example.org", "", "ws://example.org/#x"])
def test_what_is_no_url_of_a_websocket_is_refused(url):
    with pytest.raises(ValueError, match="wss://"):
        connect(url)


def test_messages_that_came_with_the_answer_are_not_lost():
    @websocket
    def handler(ws):
        ws.send("first")

    with running(handler) as run, connect(url_of(run)) as ws:
        assert list(ws) == ["first"]


def test_the_limit_of_a_message_holds_for_a_client_too():
    with running(echo) as run, connect(url_of(run), max_message_size=5) as ws:
        ws.send("12345")
        assert ws.receive(5) == "12345"
        ws.send("123456")
        assert list(ws) == []
        assert ws.close_code == 1009
