"""Every wait for a client has a deadline, and a client that does its part, however slowly, is not cut off."""

from __future__ import annotations

import logging

import pytest

import greenserve
from tests.wsgi.raw import get, running


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def trickle(client, data, pause=0.02):
    """Send a byte at a time until the server has had enough. Returns how many it took."""
    for count, byte in enumerate(data):
        if client.sock.wait_readable(pause):
            return count
        client.send(bytes([byte]))
    return len(data)


@pytest.mark.parametrize("served", [0, 1])
@pytest.mark.parametrize("endless", ["line", "field", "fields"])
def test_the_whole_head_has_one_deadline_however_slowly_it_comes(endless, served, caplog):
    data = {"line": b"GET /" + b"x" * 1000, "field": b"GET / HTTP/1.1\r\nX: " + b"x" * 1000}
    data["fields"] = b"GET / HTTP/1.1\r\n" + b"A: 1\r\n" * 200
    with running(echo, head_timeout=0.3) as run:
        client = run.connect()
        for _ in range(served):
            client.ask(get())
        assert 5 < trickle(client, data[endless]) < 100
        assert client.read().code == 408
        assert client.is_closed()
    assert warnings(caplog) == []


def test_a_client_that_connects_and_says_nothing_is_left_without_a_word():
    with running(echo, head_timeout=0.1) as run:
        client = run.connect()
        assert client.read_rest() == b""


def test_the_time_between_requests_is_not_taken_from_the_next_head():
    with running(echo, head_timeout=0.2, keep_alive=5) as run:
        client = run.connect()
        client.ask(get())
        assert not client.sock.wait_readable(0.4)  # longer than a head may take
        assert client.ask(get()).code == 200


@pytest.mark.parametrize(
    "start", [get("/", "Content-Length: 50", method="POST"), get("/", "Transfer-Encoding: chunked", method="POST")]
)
def test_a_body_may_be_slow_but_not_stop(start, caplog):
    with running(echo, body_timeout=0.3) as run:
        slow, stopped = run.connect(), run.connect()
        slow.send(start)
        stopped.send(start)
        body = b"1\r\nx\r\n" * 10 + b"0\r\n\r\n" if b"chunked" in start else b"x" * 50
        assert trickle(slow, body) == len(body)  # longer in all than one pause may be
        assert slow.read().code == 200
        assert stopped.read().code == 408
        assert stopped.is_closed()
    assert warnings(caplog) == []


def test_a_body_that_stops_raises_in_the_app_each_time_it_reads():
    seen = []

    def app(environ, start_response):
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except OSError as exc:
                seen.append(exc.status[:3])
        start_response("200 OK", [])
        return [b"sorry"]

    with running(app, body_timeout=0.1) as run:
        client = run.connect()
        assert client.ask(get("/", "Content-Length: 5", method="POST", body=b"x")).body == b"sorry"
        assert client.is_closed()
    assert seen == ["408", "408"]


def test_an_unread_body_that_stops_ends_the_connection():
    def ignore(environ, start_response):
        start_response("200 OK", [])
        return [b"unread"]

    with running(ignore, body_timeout=0.1) as run:
        client = run.connect()
        assert client.ask(get("/", "Content-Length: 5", method="POST", body=b"x")).body == b"unread"
        assert client.is_closed()


@pytest.mark.parametrize("framing", ["Content-Length: 300", "Transfer-Encoding: chunked"])
def test_an_unread_body_has_one_deadline_however_slowly_it_comes(framing):
    def ignore(environ, start_response):
        start_response("200 OK", [])
        return [b"unread"]

    with running(ignore, body_timeout=0.3, head_timeout=0.1) as run:
        client = run.connect()
        assert client.ask(get("/", framing, method="POST")).body == b"unread"
        assert 5 < trickle(client, b"1\r\nx\r\n" * 50) < 100
        assert client.is_closed()


@pytest.mark.parametrize("kind", ["one block", "blocks", "file"])
def test_a_client_that_takes_nothing_is_given_up_and_that_is_no_error(kind, tmp_path, caplog):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    ended = greenserve.Event()

    def app(environ, start_response):
        environ["eventlet.posthooks"].append((lambda environ: ended.send(), (), {}))
        start_response("200 OK", [])
        if kind == "file":
            return environ["wsgi.file_wrapper"](path.open("rb"))
        return [b"x" * 50_000_000] if kind == "one block" else (b"x" * 65536 for _ in range(1000))

    with running(app, write_timeout=0.2) as run:
        client = run.connect()
        client.send(get())
        ended.wait(5)
        with pytest.raises(ConnectionResetError):
            while client.file.read(65536):
                pass
    assert warnings(caplog) == []


@pytest.mark.parametrize("kind", ["one block", "file"])
def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(kind, tmp_path):
    size = 12_000_000
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)

    def app(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](path.open("rb")) if kind == "file" else [b"x" * size]

    with running(app, write_timeout=0.2) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        left = size
        while left:
            left -= len(client.file.read(min(left, 200_000)))
            greenserve.sleep(0.05)  # a slow client: some of the answer every now and then
        assert client.ask(get("/", method="HEAD"), "HEAD").code == 200


def test_a_silent_app_is_not_the_clients_fault():
    go_on = greenserve.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        go_on.wait()
        yield b"second"

    with running(app, head_timeout=0.05, body_timeout=0.05, write_timeout=0.05, keep_alive=0.05) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        assert client.read_chunk() == b"first"
        assert not client.sock.wait_readable(0.3)
        go_on.send()
        assert client.read_chunked() == b"second"


def test_a_refused_client_that_stays_is_closed_after_a_while():
    with running(echo, head_timeout=0.2) as run:
        client = run.connect()
        assert client.ask(b"bad\r\n\r\n").code == 400
        with greenserve.Timeout(5):
            assert client.is_closed()
            while run.server.connections:
                greenserve.sleep(0.01)
