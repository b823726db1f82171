"""Every kind of request and answer under the standard library's validator, which complains by raising."""

from __future__ import annotations

import io
import logging
from wsgiref.validate import validator

import pytest

from tests.wsgi.raw import get, running

PLAIN = [("Content-Type", "text/plain")]


def reads_all(environ, start_response):
    body = environ["wsgi.input"].read(-1)
    start_response("200 OK", PLAIN)
    return [body]


def reads_by_line(environ, start_response):
    lines = [environ["wsgi.input"].readline(), *environ["wsgi.input"].readlines(), *environ["wsgi.input"]]
    start_response("200 OK", PLAIN)
    return lines


def streams(environ, start_response):
    start_response("200 OK", PLAIN)
    return iter([environ["wsgi.input"].read(-1), b""])


def writes(environ, start_response):
    write = start_response("200 OK", PLAIN)
    write(environ["wsgi.input"].read(-1))
    return []


def sends_a_file(environ, start_response):
    start_response("200 OK", PLAIN)
    return environ["wsgi.file_wrapper"](io.BytesIO(environ["wsgi.input"].read(-1)))


def logs(environ, start_response):
    environ["wsgi.errors"].write("")
    environ["wsgi.errors"].writelines([""])
    environ["wsgi.errors"].flush()
    return reads_all(environ, start_response)


def post(*fields, body=b"", version="HTTP/1.1", method="POST"):
    return get("/a%20b?c=d", *fields, method=method, body=body, version=version)


@pytest.mark.parametrize("app", [reads_all, reads_by_line, streams, writes, sends_a_file, logs])
@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (get(), b""),
        (get(version="HTTP/1.0"), b""),
        (post("Content-Length: 7", "Content-Type: text/x", body=b"one\ntwo"), b"one\ntwo"),
        (post("Content-Length: 0"), b""),
        (post("Transfer-Encoding: chunked", body=b"4\r\none\n\r\n3\r\ntwo\r\n0\r\n\r\n"), b"one\ntwo"),
        (post("Content-Length: 3", "Connection: keep-alive", body=b"abc", version="HTTP/1.0"), b"abc"),
        (get("/", "Accept: a", "Accept: b", "Cookie: c=1", "X-Long: " + "x" * 5000), b""),
    ],
)
def test_the_validator_has_no_complaint(request_, body, app, caplog):
    with running(validator(app)) as run:
        client = run.connect()
        answer = client.ask(request_)
        assert (answer.code, answer.body) == (200, body)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_the_validator_has_no_complaint_about_answers_without_content(status, caplog):
    def app(environ, start_response):
        start_response(status, [])
        return []

    with running(validator(app)) as run:
        client = run.connect()
        assert [client.ask(get()).code for _ in range(2)] == [int(status[:3])] * 2
        assert client.ask(get(method="HEAD"), "HEAD").code == int(status[:3])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_validator_has_no_complaint_about_head(caplog):
    with running(validator(reads_all)) as run:
        client = run.connect()
        assert [client.ask(get(method="HEAD"), "HEAD").code for _ in range(3)] == [200] * 3
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
