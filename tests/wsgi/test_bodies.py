"""Request bodies from the outside: what reaches the app, and that what breaks off never looks like an end."""

from __future__ import annotations

import logging

import pytest

import greenserve
from greenserve.errors import BodyError
from tests.wsgi.raw import get, running


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


def post(*fields: str, body: bytes = b"") -> bytes:
    return get("/", *fields, method="POST", body=body)


CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"005\r\nhello\r\n00\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b'5;a;b=c;d="e;\r\t"\r\nhello\r\n0\r\n\r\n'.replace(b"\r\t", b"\t"), b"hello"),
        (b"5 ; a = b\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5\r\nhello\r\n0\r\nA: 1\r\nContent-Length: 7\r\nHost: other\r\n\r\n", b"hello"),
        (b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n", b"x" * 30_000),
    ],
)
def test_a_chunked_body_by_the_grammar_reaches_the_app(wire, body):
    with running(echo) as run:
        client = run.connect()
        client.send(post(CHUNKED, body=wire))
        assert client.read().body == body
        assert client.ask(post("Content-Length: 1", body=b"!")).body == b"!"


@pytest.mark.parametrize(
    "wire",
    [
        b"\r\n",
        b"g\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\rhello\r\n0\r\n\r\n",
        b"5;\r\nhello\r\n0\r\n\r\n",
        b'5;a="\r\nhello\r\n0\r\n\r\n',
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"11111111111111111\r\n",
        b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        b"5\r\nhello\r\n0\r\n folded: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: 1\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"A: 1\r\n" * 1000 + b"\r\n",
        b"5\r\nhello\r\n0\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
        b"5;" + b"x" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        b"1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n" * 1000,
    ],
)
def test_a_chunked_body_outside_the_grammar_is_answered_with_400_and_ends_the_connection(wire):
    with running(echo) as run:
        client = run.connect()
        sender = greenserve.spawn(client.send, post(CHUNKED, body=wire) + get("/never"))
        answer = client.read()
        assert (answer.code, answer.fields["connection"]) == (400, "close")
        sender.wait()
        assert client.is_closed()
        assert run.server.requests == 1


@pytest.mark.parametrize(
    "sent",
    [
        post("Content-Length: 10", body=b"12345"),
        post(CHUNKED),
        post(CHUNKED, body=b"5"),
        post(CHUNKED, body=b"5\r\n123"),
        post(CHUNKED, body=b"5\r\n12345"),
        post(CHUNKED, body=b"5\r\n12345\r\n"),
        post(CHUNKED, body=b"5\r\n12345\r\n0"),
        post(CHUNKED, body=b"5\r\n12345\r\n0\r\n"),
        post(CHUNKED, body=b"5\r\n12345\r\n0\r\nA: 1\r\n"),
    ],
)
def test_a_body_that_ends_early_raises_again_and_again_and_the_client_is_told(sent, caplog):
    seen = []

    def app(environ, start_response):
        body = environ["wsgi.input"]
        for read in (body.read, body.read, body.readline, lambda: body.read(1), body.readlines, lambda: list(body)):
            try:
                seen.append(read())
            except BodyError as exc:
                seen.append(type(exc))
        return [body.read()]

    with running(app) as run:
        client = run.connect()
        client.send(sent)
        client.send_end()
        answer = client.read()
        assert (answer.code, answer.fields["connection"]) == (400, "close")
    assert seen == [BodyError] * 6
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_client_that_vanishes_in_its_body_raises_in_the_app_and_is_no_error_of_the_server(caplog):
    seen = greenserve.Event()

    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            seen.send(exc)
            raise
        return [b""]

    with running(app) as run:
        client = run.connect()
        client.send(post("Content-Length: 10", body=b"12345"))
        while not run.server.requests:
            greenserve.sleep(0)
        client.reset()
        assert isinstance(seen.wait(5), BodyError)
        while run.server.connections:
            greenserve.sleep(0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_swallowed_body_error_does_not_let_the_rest_pass_for_a_request():
    def app(environ, start_response):
        try:
            environ["wsgi.input"].read()
        except OSError:
            pass
        start_response("200 OK", [])
        return [b"fine"]

    for wire in (b"zz\r\n", b"5\r\nhello0\r\n\r\n"):
        with running(app) as run:
            client = run.connect()
            assert client.ask(post(CHUNKED, body=wire) + get("/never")).body == b"fine"
            assert client.is_closed()
            assert run.server.requests == 1


def test_the_limit_holds_for_both_framings_to_the_byte():
    with running(echo, limit_request_body=10) as run:
        for size, code in ((10, 200), (11, 413)):
            assert run.ask(post(f"Content-Length: {size}", body=b"x" * size)).code == code
            assert run.ask(post(CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size))).code == code
        assert run.ask(post(CHUNKED, body=b"6\r\n123456\r\n5\r\n12345\r\n0\r\n\r\n")).code == 413


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post("Content-Length: 20000000", body=b"x" * 20_000_000), 413),
        (b"POST / HTTP/1.1\r\nHost : x\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000, 400),
        (get("/" + "x" * 10_000_000), 414),
        (get("/", "X: " + "x" * 10_000_000), 431),
        (post(CHUNKED, body=b"1312D00\r\n" + b"x" * 20_000_000 + b"\r\n0\r\n\r\n"), 413),
    ],
)
def test_a_client_that_sends_a_lot_before_it_looks_can_read_why_it_was_refused(request_, code):
    with running(echo, limit_request_body=1000) as run:
        client = run.connect()
        client.send(request_)  # all of it: a reset would raise here
        answer = client.read()
        assert (answer.code, answer.fields["connection"]) == (code, "close")
        assert client.is_closed()


def test_a_refused_client_that_goes_on_sending_is_not_listened_to_for_ever():
    with running(echo, head_timeout=0.2) as run:
        client = run.connect()
        client.send(b"bad\r\n\r\n")
        assert client.read().code == 400
        with greenserve.Timeout(5), pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                client.send(b"x")
                greenserve.sleep(0)


def test_refusals_delay_nobody():
    with running(echo) as run:
        refused = [run.connect() for _ in range(50)]
        for client in refused:
            client.send(b"bad\r\n\r\n")  # and none of them hangs up
        for client in refused:
            assert client.read().code == 400
        with greenserve.Timeout(1):
            assert run.ask(post("Content-Length: 1", body=b"x")).body == b"x"


def test_trailers_are_kept_apart_from_the_fields():
    seen = {}

    def app(environ, start_response):
        body = environ["wsgi.input"]
        body.read()
        seen.update(environ, trailers=body.trailers)
        start_response("200 OK", [])
        return []

    with running(app) as run:
        run.ask(post(CHUNKED, "X-A: head", body=b"1\r\nx\r\n0\r\nX-A: trailer\r\nX-B: trailer\r\n\r\n"))
    assert seen["HTTP_X_A"] == "head"
    assert "HTTP_X_B" not in seen
    assert seen["trailers"] == [("X-A", "trailer"), ("X-B", "trailer")]


@pytest.mark.parametrize("wire", [b"x" * 1_000_000, b"F4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\n\r\n"])
def test_a_body_may_be_read_while_the_answer_is_being_sent(wire):
    def app(environ, start_response):
        start_response("200 OK", [])
        while block := environ["wsgi.input"].read(50_000):
            yield block.upper()

    field = CHUNKED if wire.startswith(b"F") else "Content-Length: 1000000"
    with running(app) as run:
        client = run.connect()
        sender = greenserve.spawn(client.send, post(field, body=wire))
        assert client.read().body == b"X" * 1_000_000
        sender.wait()


@pytest.mark.parametrize("read", [lambda body: body.read(), lambda body: list(iter(lambda: body.read(1), b""))])
def test_a_body_in_tiny_pieces_leaves_the_others_their_turns(read):
    turns = [0]

    def app(environ, start_response):
        before = turns[0]
        read(environ["wsgi.input"])
        start_response("200 OK", [])
        return [str(turns[0] - before).encode()]

    def others():
        while True:
            greenserve.sleep(0)
            turns[0] += 1

    with running(app) as run:
        client = run.connect()
        thread = greenserve.spawn(others)
        sender = greenserve.spawn(client.send, post(CHUNKED, body=b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"))
        assert int(client.read().body) > 100
        thread.kill()
        sender.wait()
