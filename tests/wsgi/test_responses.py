"""What an app answers, and what of it reaches the client (PEP 3333, RFC 9110 section 6.4, RFC 9112 section 6)."""

from __future__ import annotations

import sys

import pytest

import greenserve
from tests.wsgi.raw import get, running


def answering(status="200 OK", headers=(), body=(b"body",)):
    def app(environ, start_response):
        start_response(status, list(headers))
        return body() if callable(body) else list(body)

    return app


# Content-Length ------------------------------------------------------------------------------------------------------

KINDS = {
    "list": lambda blocks: lambda environ, write: blocks,
    "generator": lambda blocks: lambda environ, write: iter(blocks),
    "write": lambda blocks: lambda environ, write: [write(block) for block in blocks] and [],
    "both": lambda blocks: lambda environ, write: [write(blocks[0])] and blocks[1:],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [[b"abcdef"], [b"abc", b"def"], [b"a", b"", b"bcdefg", b"hij"]])
def test_a_body_that_is_too_long_is_cut_and_the_next_answer_is_whole(kind, blocks, caplog):
    produce = KINDS[kind](blocks)

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "5")])
        return produce(environ, write)

    with running(app) as run:
        client = run.connect()
        client.send(get() * 2)
        for _ in range(2):
            assert client.read().body == b"".join(blocks)[:5]
    messages = [record.getMessage() for record in caplog.records if "longer than its Content-Length" in record.message]
    assert len(messages) == 2


def test_an_endless_body_ends_with_its_content_length(caplog):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        while True:
            yield b"abc"

    with running(app) as run:
        client = run.connect()
        with greenserve.Timeout(5):
            assert client.ask(get()).body == b"abcabcabca"
            assert client.ask(get()).body == b"abcabcabca"
    assert caplog.text.count("longer than its Content-Length") == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_body_that_is_too_short_is_seen_to_be_cut(kind, version, caplog):
    produce = KINDS[kind]([b"abc", b"def"])

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "50")])
        return produce(environ, write)

    with running(app) as run:
        client = run.connect()
        client.send(get("/", "Connection: keep-alive", version=version) + get("/never"))
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()
        assert run.server.requests == 1
    assert "shorter than its Content-Length" in caplog.text


@pytest.mark.parametrize("value", ["-1", "+4", "4.0", "0x4", "four", "", "4, 4", "9" * 30])
def test_a_content_length_that_is_no_number_is_refused(value, caplog):
    with running(answering(headers=[("Content-Length", value)])) as run:
        assert run.ask(get()).code == 500


# Iterables -----------------------------------------------------------------------------------------------------------


class Sized:
    """An iterable that knows how long it is, and is no list."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def __len__(self):
        return len(self.blocks)


@pytest.mark.parametrize(
    ("body", "expected", "has_length"),
    [
        (list, b"", True),
        (tuple, b"", True),
        (lambda: [b"one"], b"one", True),
        (lambda: (b"one",), b"one", True),
        (lambda: Sized(b"one"), b"one", True),
        (Sized, b"", True),
        (lambda: [b"", b"one", b"", b"two"], b"onetwo", True),
        (lambda: (b"one", bytearray(b"two"), memoryview(b"three")), b"onetwothree", True),
        (lambda: [b"x" * 50_000] * 4, b"x" * 200_000, True),
        (lambda: Sized(b"one", b"two"), b"onetwo", None),
        (lambda: iter([]), b"", None),
        (lambda: iter([b"", b""]), b"", None),
        (lambda: iter([b"one"]), b"one", None),
        (lambda: {b"one": 1}, b"one", None),
        (lambda: [bytearray(b"one")], b"one", True),
        (lambda: [memoryview(b"one")], b"one", True),
    ],
)
def test_every_iterable_of_bytes_is_a_body(body, expected, has_length):
    with running(answering(body=body)) as run:
        client = run.connect()
        for version in ("HTTP/1.1", "HTTP/1.1", "HTTP/1.0"):
            answer = client.ask(get("/", version=version))
            assert answer.body == expected
            if has_length:
                assert answer.fields["content-length"] == str(len(expected))


@pytest.mark.parametrize(
    "body", [lambda: ["text"], lambda: [b"a", "text"], lambda: b"bytes", lambda: "text", lambda: None, lambda: [None]]
)
def test_a_body_that_is_no_iterable_of_bytes_is_a_500_with_a_reason_in_the_log(body, caplog):
    with running(answering(body=body)) as run:
        assert run.ask(get()).code == 500
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_body_that_goes_wrong_in_the_middle_is_cut(caplog):
    with running(answering(body=lambda: iter([b"one", "two"]))) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        assert client.read_chunk() == b"one"
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read_chunk()


# Status and fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["200", "200 ", "299 \xe9", "404 Not Found", "599 What?", "200 OK with\ttab", "418 I'm a teapot"]
)
def test_a_status_within_the_grammar_is_sent_as_it_is(status):
    with running(answering(status)) as run:
        line = run.ask(get()).status_line
    assert line == b"HTTP/1.1 " + (status if len(status) > 3 else status + " ").encode("latin-1")


@pytest.mark.parametrize(
    "status", ["", "OK", "20 OK", "2000 OK", "600 X", "100 Continue", "101 Up", "200 a\r\nX: 1", b"200 OK", 200, None]
)
def test_a_status_outside_the_grammar_is_a_500(status, caplog):
    with running(answering(status)) as run:
        answer = run.ask(get())
    assert (answer.code, "x" in answer.fields) == (500, False)


@pytest.mark.parametrize(
    "name", "Connection Keep-Alive Proxy-Authenticate TE Trailer Trailers Transfer-Encoding Upgrade upgrade".split()
)
def test_hop_by_hop_fields_are_not_the_apps_to_set(name, caplog):
    with running(answering(headers=[(name, "x")])) as run:
        assert run.ask(get()).code == 500
    assert name in caplog.text


def test_the_apps_own_date_and_server_are_kept():
    with running(answering(headers=[("date", "yesterday"), ("Server", "mine")])) as run:
        answer = run.ask(get())
    assert [value for name, value in answer.raw_fields if name.lower() == b"date"] == [b"yesterday"]
    assert answer.fields["server"] == "mine"


def test_fields_keep_their_order_case_and_repeats():
    headers = [("Set-Cookie", "a=1"), ("x-lower", "1"), ("Set-Cookie", "b=2"), ("X-UPPER", "\xe9"), ["X-List", ""]]
    with running(answering(headers=headers)) as run:
        fields = run.ask(get()).raw_fields
    assert fields[:5] == [
        (b"Set-Cookie", b"a=1"),
        (b"x-lower", b"1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-UPPER", b"\xe9"),
        (b"X-List", b""),
    ]


# start_response ------------------------------------------------------------------------------------------------------


def test_start_response_twice_without_exc_info_is_an_error(caplog):
    def app(environ, start_response):
        start_response("200 OK", [])
        start_response("201 Created", [])
        return [b""]

    with running(app) as run:
        assert run.ask(get()).code == 500


def test_start_response_may_come_with_the_first_block_but_not_later(caplog):
    def late(environ, start_response):
        def blocks():
            if environ["PATH_INFO"] == "/never":
                yield b"block"
            start_response("200 OK", [])
            yield b"block"

        return blocks()

    with running(late) as run:
        assert run.ask(get()).body == b"block"
        assert run.ask(get("/never")).code == 500


def test_exc_info_after_the_head_raises_it_again_and_cuts_the_answer(caplog):
    raised = []

    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "100")])
        write(b"part")
        try:
            raise KeyError("original")
        except KeyError:
            try:
                start_response("500 Too late", [], sys.exc_info())
            except KeyError as exc:
                raised.append(exc.args)
                raise
        return [b""]

    with running(app) as run:
        client = run.connect()
        client.send(get())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()
    assert raised == [("original",)]


def test_what_is_written_after_the_answer_has_ended_does_not_reach_the_next_one():
    kept = []

    def app(environ, start_response):
        kept.append(start_response("200 OK", []))
        return (block for block in (b"fine",))

    with running(app) as run:
        client = run.connect()
        assert client.ask(get()).body == b"fine"
        with pytest.raises(greenserve.GreenserveError):
            kept[0](b"stray")
        assert client.ask(get()).body == b"fine"
