"""``Expect: 100-continue`` and other informational responses (RFC 9110 sections 10.1.1 and 15.2, RFC 8297)."""

from __future__ import annotations

import pytest

import greenserve
from tests.wsgi.raw import get, running

CONTINUE = b"HTTP/1.1 100 Continue"


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body]


def ignore(environ, start_response):
    start_response("200 OK", [])
    return [b"unread"]


def post(*fields: str, body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    return get("/", *fields, method="POST", body=body, version=version)


FRAMED = [("Content-Length: 3", b"abc"), ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n")]


@pytest.mark.parametrize(("field", "body"), FRAMED)
@pytest.mark.parametrize("expect", ["100-continue", "100-Continue", "100-CONTINUE, 100-continue"])
def test_reading_the_body_sends_one_100_and_the_connection_goes_on(field, body, expect):
    with running(echo) as run:
        client = run.connect()
        for _ in range(2):
            client.send(post(field, f"Expect: {expect}"))
            assert client.read_head() == (CONTINUE, [])
            client.send(body)
            answer = client.read()
            assert (answer.code, answer.body) == (200, b"abc")
            assert "connection" not in answer.fields


def test_every_way_to_read_sends_the_100():
    for read in (
        lambda body: body.read(1),
        lambda body: body.readline(),
        lambda body: body.readlines(),
        list,
        lambda body: body.read1(),
        lambda body: body.readinto(bytearray(1)),
    ):

        def app(environ, start_response, read=read):
            read(environ["wsgi.input"])
            return ignore(environ, start_response)

        with running(app) as run:
            client = run.connect()
            client.send(post("Content-Length: 3", "Expect: 100-continue"))
            assert client.read_head()[0] == CONTINUE
            client.send(b"abc")
            assert client.read().body == b"unread"


@pytest.mark.parametrize(("field", "body"), FRAMED)
def test_without_reading_there_is_no_100_and_what_the_client_sends_then_is_no_request(field, body):
    with running(ignore) as run:
        client = run.connect()
        answer = client.ask(post(field, "Expect: 100-continue"))
        assert (answer.code, answer.fields["connection"]) == (200, "close")
        client.send(body + get("/never"))
        assert client.is_closed()
        assert run.server.requests == 1


@pytest.mark.parametrize(("field", "body"), FRAMED)
def test_a_client_that_does_not_wait_gets_its_answer(field, body):
    with running(echo) as run:
        client = run.connect()
        client.send(post(field, "Expect: 100-continue", body=body))
        answer = client.read()
        if answer.code == 100:  # it may be sent or left out (RFC 9110 section 10.1.1)
            answer = client.read()
        assert (answer.code, answer.body) == (200, b"abc")


def test_no_100_comes_behind_the_beginning_of_the_answer():
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        yield environ["wsgi.input"].read()

    with running(app) as run:
        client = run.connect()
        client.send(post("Content-Length: 3", "Expect: 100-continue"))
        assert client.read_head()[0] == b"HTTP/1.1 200 OK"
        assert client.read_chunk() == b"first"
        client.send(b"abc")
        assert client.read_chunked() == b"abc"


@pytest.mark.parametrize(
    "request_",
    [
        post("Content-Length: 3", "Expect: 100-continue", version="HTTP/1.0", body=b"abc"),
        post("Content-Length: 0", "Expect: 100-continue"),
        post("Expect: 100-continue"),
    ],
)
def test_an_expectation_of_http_1_0_or_without_a_body_is_ignored(request_):
    with running(echo) as run:
        answer = run.ask(request_)
    assert (answer.code, answer.body) == (200, b"abc" if b"1.0" in request_ else b"")


@pytest.mark.parametrize("expect", ["cake", "100-continue, cake", "100-continue=1", "200-ok"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_another_expectation_is_answered_with_417_and_nothing_behind_it_is_executed(expect, method):
    with running(echo) as run:
        client = run.connect()
        answer = client.ask(get("/", f"Expect: {expect}", method=method) + get("/never"), method)
        assert (answer.code, answer.fields["connection"]) == (417, "close")
        assert client.is_closed()
        assert run.server.requests == 0


def test_a_body_over_the_limit_is_refused_instead_of_continued():
    with running(echo, limit_request_body=2) as run:
        client = run.connect()
        assert client.ask(post("Content-Length: 3", "Expect: 100-continue")).code == 413
        assert client.is_closed()


def test_an_app_that_fails_before_it_reads_sends_its_500_and_no_100(caplog):
    def app(environ, start_response):
        raise ValueError

    with running(app) as run:
        client = run.connect()
        assert client.ask(post("Content-Length: 3", "Expect: 100-continue")).code == 500
        client.send(b"abc")
        assert client.is_closed()


def test_a_client_that_gets_its_100_and_sends_nothing_is_answered_with_408():
    with running(echo, body_timeout=0.1) as run:
        client = run.connect()
        client.send(post("Content-Length: 3", "Expect: 100-continue"))
        assert client.read_head()[0] == CONTINUE
        assert client.read().code == 408
        assert client.is_closed()


@pytest.mark.parametrize(("capitalized", "name"), [(True, b"X-Hundred"), (False, b"x-HUNDRED")])
def test_fields_can_be_sent_with_the_100(capitalized, name):
    def app(environ, start_response):
        headers = [("x-HUNDRED", "1"), ("x-HUNDRED", "2")]
        environ["eventlet.input"].set_hundred_continue_response_headers(headers, capitalized)
        return echo(environ, start_response)

    with running(app) as run:
        client = run.connect()
        client.send(post("Content-Length: 3", "Expect: 100-continue"))
        assert client.read_head() == (CONTINUE, [(name, b"1"), (name, b"2")])
        assert client.ask(b"abc").body == b"abc"
        assert client.ask(post("Content-Length: 3", body=b"abc")).body == b"abc"  # no 100 where none is waited for


def test_fields_of_the_100_that_would_split_it_are_refused(caplog):
    def app(environ, start_response):
        environ["wsgi.input"].set_hundred_continue_response_headers([("X", "a\r\n\r\nHTTP/1.1 200 OK")])
        return echo(environ, start_response)

    with running(app) as run:
        assert run.ask(post("Content-Length: 3", "Expect: 100-continue")).code == 500


def test_the_app_may_send_the_100_before_it_reads_and_more_of_them_later():
    def app(environ, start_response):
        body = environ["wsgi.input"]
        body.send_hundred_continue_response()
        first = body.read(3)
        body.set_hundred_continue_response_headers([("X-Part", "2")])
        body.send_hundred_continue_response()
        second = body.read(3)
        start_response("200 OK", [])
        yield second + first
        body.send_hundred_continue_response()  # too late

    with running(app) as run:
        client = run.connect()
        client.send(post("Content-Length: 6", "Expect: 100-continue"))
        assert client.read_head() == (CONTINUE, [])
        client.send(b"abc")
        assert client.read_head() == (CONTINUE, [(b"X-Part", b"2")])
        assert client.ask(b"def").body == b"defabc"


def test_the_app_can_not_send_a_100_that_nobody_waits_for():
    def app(environ, start_response):
        environ["wsgi.input"].send_hundred_continue_response()
        return echo(environ, start_response)

    with running(app) as run:
        client = run.connect()
        for version, fields in (
            ("HTTP/1.1", []),
            ("HTTP/1.1", ["Content-Length: 3"]),
            ("HTTP/1.0", ["Content-Length: 3", "Expect: 100-continue"]),
        ):
            answer = client.ask(post(*fields, body=b"abc" if fields else b"", version=version))
            assert (answer.code, answer.body) == (200, b"abc" if fields else b"")


def test_early_hints_come_before_the_answer_and_not_behind_its_beginning():
    def app(environ, start_response):
        hint = environ["wsgi.early_hints"]
        hint([("Link", "</a.css>; rel=preload")])
        hint([("Link", "</b.css>; rel=preload")])
        start_response("200 OK", [])
        yield b"body"
        hint([("Link", "</late.css>; rel=preload")])

    with running(app) as run:
        client = run.connect()
        client.send(get())
        for name in (b"a", b"b"):
            line, fields = client.read_head()
            assert line == b"HTTP/1.1 103 Early Hints"
            assert fields == [(b"Link", b"</%b.css>; rel=preload" % name)]
        assert client.read().body == b"body"
        answer = client.ask(get(version="HTTP/1.0"))
        assert (answer.code, answer.body) == (200, b"body")


@pytest.mark.parametrize("fields", [[("Link", "a\r\nb")], [("Connection", "close")], [("Link", 1)]])
def test_early_hints_that_break_http_are_refused(fields, caplog):
    def app(environ, start_response):
        environ["wsgi.early_hints"](fields)
        return ignore(environ, start_response)

    with running(app) as run:
        assert run.ask(get()).code == 500


def test_a_hint_kept_for_after_the_request_does_nothing():
    kept = []

    def app(environ, start_response):
        if not kept:
            kept.append(environ["wsgi.early_hints"])
        return ignore(environ, start_response)

    with running(app) as run:
        client = run.connect()
        client.ask(get())
        kept[0]([("Link", "</a.css>")])
        greenserve.sleep(0)
        assert client.ask(get()).code == 200
