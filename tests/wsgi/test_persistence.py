"""When a connection goes on, and that what is on it belongs to the request it was sent with (RFC 9112 section 9)."""

from __future__ import annotations

import pytest

import greenserve
from tests.wsgi.raw import get, running, serving


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode() + b":" + body]


def ignore(environ, start_response):
    start_response("200 OK", [])
    return [environ["PATH_INFO"].encode()]


def with_length(path: str, body: bytes) -> bytes:
    return get(path, f"Content-Length: {len(body)}", method="POST", body=body)


def chunked(path: str, *blocks: bytes, trailers: bytes = b"") -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    return get(path, "Transfer-Encoding: chunked", method="POST", body=body + b"0\r\n" + trailers + b"\r\n")


MIXED = [
    with_length("/a", b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n"),
    get("/b"),
    chunked("/c", b"GET /no", b" HTTP/1.1\r\n\r\n", trailers=b"X-T: 1\r\n"),
    with_length("/d", b""),
    get("/e", method="DELETE"),
    chunked("/f"),
    with_length("/g", b"x" * 5000),
]
BODIES = {
    "/a": b"GET /no HTTP/1.1\r\nHost: x\r\n\r\n",
    "/c": b"GET /no HTTP/1.1\r\n\r\n",
    "/g": b"x" * 5000,
}


@pytest.mark.parametrize("app", [echo, ignore])
def test_a_pipeline_with_bodies_of_both_framings_is_answered_one_by_one(app):
    with running(app) as run:
        client = run.connect()
        client.send(b"".join(MIXED) * 5)
        for path in ["/a", "/b", "/c", "/d", "/e", "/f", "/g"] * 5:
            body = BODIES.get(path, b"")
            assert client.read().body == (path.encode() + b":" + body if app is echo else path.encode())
        assert run.server.accepted == 1


def test_a_pipeline_that_comes_byte_by_byte_is_answered_the_same():
    with running(echo) as run:
        client = run.connect()
        reader = greenserve.spawn(lambda: [client.read().body for _ in range(4)])
        for byte in b"".join(MIXED[:4]):
            client.send(bytes([byte]))
            greenserve.sleep(0)
        assert reader.wait() == [b"/a:" + BODIES["/a"], b"/b:", b"/c:" + BODIES["/c"], b"/d:"]


@pytest.mark.parametrize("request_", [with_length("/x", b"12345"), chunked("/x", b"123", b"45", trailers=b"T: 1\r\n")])
def test_a_request_cut_in_two_anywhere_gets_the_same_answer(request_):
    with running(echo) as run:
        client = run.connect()
        for cut in range(1, len(request_)):
            client.send(request_[:cut])
            greenserve.sleep(0)
            greenserve.sleep(0)
            client.send(request_[cut:])
            assert client.read().body == b"/x:12345"
        assert run.server.accepted == 1


def test_a_deep_pipeline_is_answered_while_its_client_still_sends():
    with running(ignore) as run:
        client = run.connect()
        sender = greenserve.spawn(client.send, get("/deep") * 20_000)
        for _ in range(20_000):
            assert client.read().body == b"/deep"
        sender.wait()


@pytest.mark.parametrize("size", [1, 30_000, 60_000])
def test_an_unread_body_within_the_bound_is_dropped_and_the_connection_goes_on(size):
    with running(ignore) as run:
        client = run.connect()
        for request in (with_length("/one", b"x" * size), chunked("/one", b"x" * size, b"y")):
            client.send(request)
            first = client.read()
            assert (first.body, first.fields.get("connection")) == (b"/one", None)
            assert client.ask(get("/two")).body == b"/two"


def test_an_unread_body_over_the_bound_ends_the_connection_after_the_answer():
    for request in (with_length("/one", b"x" * 1_000_000), chunked("/one", *[b"x" * 50_000] * 20)):
        with running(ignore) as run:
            client = run.connect()
            sender = greenserve.spawn(client.send, request + get("/never"))
            assert client.read().body == b"/one"
            sender.wait()
            assert client.is_closed()
            assert run.server.requests == 1


def test_an_announced_body_that_is_over_the_bound_is_answered_with_connection_close():
    with running(ignore) as run:
        answer = run.ask(get("/", "Content-Length: 1000000000", method="POST"))
        assert answer.fields["connection"] == "close"


@pytest.mark.parametrize(
    ("version", "fields", "stays"),
    [
        ("HTTP/1.1", ["Connection: Close"], False),
        ("HTTP/1.1", ["Connection: keep-alive"], True),
        ("HTTP/1.1", ["Connection: keep-alive, close"], False),
        ("HTTP/1.1", ["Connection: keep-alive", "Connection: close"], False),
        ("HTTP/1.1", ["Connection: x-close, closed"], True),
        ("HTTP/1.1", ["Connection: , ,\tclose ,"], False),
        ("HTTP/1.1", ["Connection: "], True),
        ("HTTP/1.0", ["Connection: foo", "Connection: KEEP-ALIVE"], True),
        ("HTTP/1.0", ["Connection: keep-alive, close"], False),
        ("HTTP/1.0", ["Keep-Alive: timeout=5"], False),
        ("HTTP/1.0", ["Proxy-Connection: keep-alive"], False),
        ("HTTP/1.9", [], True),
    ],
)
def test_connection_is_one_list_of_tokens_in_any_case(version, fields, stays):
    with running(ignore) as run:
        client = run.connect()
        answer = client.ask(get("/x", *fields, version=version))
        assert answer.body == b"/x"
        assert (answer.fields.get("connection") == "close") is not stays
        if stays:
            assert client.ask(get("/y")).body == b"/y"
        else:
            assert client.is_closed()


def test_nothing_behind_connection_close_is_executed_and_the_answer_arrives_whole():
    body = b"x" * 3_000_000

    def large(environ, start_response):
        start_response("200 OK", [])
        return [body]

    with running(large) as run:
        client = run.connect()
        client.send(get("/", "Connection: close") + get("/never"))
        greenserve.sleep(0)
        client.send(get("/nor-this") * 100)
        assert client.read().body == body
        assert client.is_closed()
        assert run.server.requests == 1


def test_what_follows_a_connect_is_never_executed():
    executed = []

    def app(environ, start_response):
        executed.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [])
        return [b""]

    with running(app, allow_connect=True) as run:
        client = run.connect()
        client.send(CONNECT + get("/tunnelled"))
        assert client.read_rest().startswith(b"HTTP/1.1 200 OK\r\n")
    assert executed == ["CONNECT"]


def test_what_comes_after_the_last_request_does_not_cost_the_client_its_answer():
    started = greenserve.Event()
    go_on = greenserve.Event()

    def large(environ, start_response):
        started.send()
        go_on.wait()
        start_response("200 OK", [])
        return [b"x" * 1_000_000]

    with running(large) as run:
        client = run.connect()
        client.send(get("/", "Connection: close"))
        started.wait()
        client.send(b"more" * 1000)
        go_on.send()
        assert len(client.read().body) == 1_000_000
        assert client.is_closed()


@pytest.mark.parametrize("as_stream", [True, False])
def test_http_1_0_keeps_alive_only_with_a_length(as_stream):
    def app(environ, start_response):
        start_response("200 OK", [])
        return (block for block in (b"a", b"b")) if as_stream else [b"ab"]

    with running(app) as run:
        client = run.connect()
        answer = client.ask(get("/", "Connection: keep-alive", version="HTTP/1.0"))
        assert answer.body == b"ab"
        assert "transfer-encoding" not in answer.fields
        if as_stream:
            assert answer.fields["connection"] == "close"
            assert client.is_closed()
        else:
            assert (answer.fields["connection"], answer.fields["content-length"]) == ("keep-alive", "2")
            assert client.ask(get("/", version="HTTP/1.0")).body == b"ab"


def test_empty_lines_before_a_request_are_skipped():
    with running(echo) as run:
        client = run.connect()
        assert client.ask(b"\r\n\r\n" + get("/a")).body == b"/a:"
        client.send(with_length("/b", b"1") + b"\r\n")  # old clients end a body with a CRLF of their own
        assert client.read().body == b"/b:1"
        assert client.ask(get("/c")).body == b"/c:"


@pytest.mark.parametrize("crlf", [b"\r\n", b"\r", b"\r\n\r\n"])
def test_an_empty_line_behind_a_request_begins_no_other_one(crlf):
    with serving(echo, keep_alive=0.2, head_timeout=30) as run:
        client = run.connect()
        client.send(with_length("/b", b"1") + crlf)
        assert client.read().body == b"/b:1"
        assert client.is_closed()  # without a 408, and long before head_timeout
        assert run.server.refused == 0


def test_a_client_that_has_said_its_last_word_still_gets_its_answers():
    def slow(environ, start_response):
        greenserve.sleep(0)
        return echo(environ, start_response)

    with running(slow) as run:
        client = run.connect()
        client.send(with_length("/a", b"1") + get("/b"))
        client.send_end()
        assert [client.read().body for _ in range(2)] == [b"/a:1", b"/b:"]
        assert client.is_closed()


@pytest.mark.parametrize("keepalive", [False, 0, None])
def test_without_keep_alive_each_connection_serves_one_request(keepalive):
    with serving(ignore, keepalive=keepalive) as run:
        client = run.connect()
        answer = client.ask(get("/a") + get("/b"))
        assert (answer.body, answer.fields["connection"]) == (b"/a", "close")
        assert client.is_closed()
        assert run.server.requests == 1


def test_many_requests_on_many_connections_are_never_mixed_up():
    with running(echo) as run:

        def talk(number: int) -> None:
            client = run.connect()
            for step in range(20):
                path, body = f"/{number}/{step}", f"{number}-{step}".encode() * step
                request = with_length(path, body) if step % 2 else chunked(path, *([body] if body else []))
                assert client.ask(request).body == path.encode() + b":" + body

        for thread in [greenserve.spawn(talk, number) for number in range(50)]:
            thread.wait()
        assert (run.server.accepted, run.server.requests) == (50, 1000)


CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "fields", "body"),
    [
        ("200 OK", [], [b"tunnel"]),
        ("200 OK", [("Content-Length", "3"), ("X-Kept", "1")], [b"tun", b"nel"]),
        ("299 Fine", [], iter([b"tun", b"nel"])),
        ("204 No Content", [("X-Kept", "1")], [b"tunnel"]),
        ("200 OK", [], []),
    ],
)
def test_behind_the_head_of_a_success_to_connect_the_tunnel_begins(status, fields, body):
    # RFC 9110 section 9.3.6: neither Content-Length nor Transfer-Encoding.
    body = list(body) if isinstance(body, list) else body

    def app(environ, start_response):
        start_response(status, fields)
        return body

    with running(app, allow_connect=True) as run:
        client = run.connect()
        client.send(CONNECT)
        _, sent = client.read_head()
        names = [name.lower() for name, _ in sent]
        assert b"content-length" not in names
        assert b"transfer-encoding" not in names
        assert (b"x-kept" in names) is (("X-Kept", "1") in fields)
        assert client.read_rest() == (b"" if body == [] else b"tunnel")


def test_a_failure_of_connect_is_framed_as_any_other():
    def app(environ, start_response):
        start_response("407 Proxy Authentication Required", [])
        return [b"who?"]

    with running(app, allow_connect=True) as run:
        answer = run.ask(CONNECT)
        assert (answer.code, answer.body, answer.fields["content-length"]) == (407, b"who?", "4")
