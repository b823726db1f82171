"""A chunked body has no CONTENT_LENGTH to speak of, and is read to its end all the same."""

from __future__ import annotations

from wsgiref.validate import validator

import pytest

from tests.wsgi.raw import get, running

BODY = b"5\r\nHello\r\n7\r\n, world\r\n0\r\n\r\n"


def careful(environ):
    length = environ.get("CONTENT_LENGTH") or None
    return environ["wsgi.input"].read() if length is None else b"a length?"


def careless(environ):
    try:
        length = int(environ["CONTENT_LENGTH"])
    except (KeyError, ValueError):
        length = 0
    return environ["wsgi.input"].read(length)


def line_by_line(environ):
    length = int(environ["CONTENT_LENGTH"])
    return b"".join(iter(lambda: environ["wsgi.input"].readline(length), b""))


@pytest.mark.parametrize("read", [careful, careless, line_by_line])
def test_every_way_to_read_sees_the_whole_body_and_nothing_more(read):
    lengths = []

    def app(environ, start_response):
        body = read(environ)
        lengths.append(environ["CONTENT_LENGTH"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            assert client.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=BODY)).body == b"Hello, world"
    assert lengths == ["", ""]


def test_the_validator_of_the_standard_library_has_no_complaint():
    def app(environ, start_response):
        body = environ["wsgi.input"].read(100)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    with running(validator(app)) as run:
        answer = run.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=BODY))
        assert (answer.code, answer.body) == (200, b"Hello, world")


def test_a_request_without_a_body_has_no_length():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [str("CONTENT_LENGTH" in environ).encode()]

    with running(app) as run:
        client = run.connect()
        client.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=BODY))
        assert client.ask(get()).body == b"False"
