"""Answers that have no body, whatever the app gives (RFC 9110 sections 6.4.1, 9.3.2 and 15)."""

from __future__ import annotations

import pytest

import greenserve
from tests.wsgi.raw import get, running


def answering(status="200 OK", headers=(), body=(b"body",)):
    def app(environ, start_response):
        start_response(status, list(headers))
        return body() if callable(body) else list(body)

    return app


BODIES = {
    "list": lambda: [b"body"],
    "two": lambda: [b"bo", b"dy"],
    "generator": lambda: (block for block in (b"bo", b"dy")),
    "empty": list,
    "empty block": lambda: [b""],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "4")]])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "205 Reset Content"])
def test_these_answers_never_have_a_body_and_the_next_answer_is_read_right(status, headers, body):
    with running(answering(status, headers, body)) as run:
        client = run.connect()
        client.send(get("/1") + get("/2", method="HEAD") + get("/3"))
        for _ in range(3):
            answer = client.read()
            assert (answer.code, answer.body) == (int(status[:3]), b"")
            assert "transfer-encoding" not in answer.fields
            expected = {"204": None, "304": "4" if headers else None, "205": "0"}[status[:3]]
            assert answer.fields.get("content-length") == expected


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "4")]])
def test_head_has_no_body_and_the_fields_of_get(headers, body):
    with running(answering("200 OK", headers, body)) as run:
        client = run.connect()
        client.send(get("/", method="HEAD") * 2 + get("/", "Connection: close", method="HEAD"))
        for _ in range(3):
            answer = client.read("HEAD")
            assert answer.code == 200
            assert answer.fields.get("content-length") in (("4",) if headers else ("4", None))
        assert client.read_rest() == b""


@pytest.mark.parametrize("error", [ValueError, None])
def test_errors_answer_head_without_a_body(error, caplog):
    def app(environ, start_response):
        raise ValueError

    with running(app) as run:
        client = run.connect()
        client.send(get(method="HEAD") if error else get("/", "Expect: cake", method="HEAD"))
        assert client.read("HEAD").code == (500 if error else 417)
        assert client.read_rest() == b""
        client = run.connect()
        client.send(b"HEAD / HTTP/1.1\r\n\r\n")
        assert client.read("HEAD").code == 400
        assert client.read_rest() == b""


def test_head_of_an_endless_stream_ends():
    closed = greenserve.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"tick"
        finally:
            closed.send()

    with running(app) as run:
        client = run.connect()
        client.send(get(method="HEAD"))
        with greenserve.Timeout(5):
            assert client.read("HEAD").code == 200
            closed.wait()
        assert client.ask(get(method="HEAD"), "HEAD").code == 200
