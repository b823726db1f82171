"""What a client sees of the server, over real sockets: the basics of HTTP/1.1 and PEP 3333."""

from __future__ import annotations

import io
import logging
import sys
from wsgiref.validate import validator

import pytest

import greenserve
from tests.wsgi.raw import get, running, stream_of


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def test_a_request_gets_its_answer_with_length_and_date():
    with running(hello) as run:
        answer = run.ask(get())
    assert (answer.status_line, answer.body) == (b"HTTP/1.1 200 OK", b"Hello")
    assert answer.fields["content-length"] == "5"
    assert answer.fields["date"].endswith(" GMT")
    assert "connection" not in answer.fields


def test_a_connection_serves_one_request_after_the_other():
    with running(hello) as run:
        client = run.connect()
        for _ in range(5):
            assert client.ask(get()).body == b"Hello"
        assert run.server.accepted == 1
        assert run.server.requests == 5


def test_pipelined_requests_are_answered_in_order():
    def path(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    with running(path) as run:
        client = run.connect()
        client.send(b"".join(get(f"/{n}") for n in range(100)))
        assert [client.read().body for _ in range(100)] == [f"/{n}".encode() for n in range(100)]


@pytest.mark.parametrize(
    ("version", "fields", "stays"),
    [
        ("HTTP/1.1", [], True),
        ("HTTP/1.1", ["Connection: close"], False),
        ("HTTP/1.1", ["Connection: foo, CLOSE"], False),
        ("HTTP/1.0", [], False),
        ("HTTP/1.0", ["Connection: keep-alive"], True),
        ("HTTP/1.0", ["Connection: Keep-Alive, foo"], True),
    ],
)
def test_the_connection_stays_open_when_the_client_wants_it(version, fields, stays):
    with running(hello) as run:
        client = run.connect()
        answer = client.ask(get("/", *fields, version=version))
        assert answer.body == b"Hello"
        if stays:
            assert client.ask(get("/", *fields, version=version)).code == 200
            assert answer.fields.get("connection") == ("keep-alive" if version == "HTTP/1.0" else None)
        else:
            assert answer.fields["connection"] == "close"
            assert client.is_closed()


def test_a_stream_without_a_length_is_chunked_and_each_block_leaves_at_once():
    steps = greenserve.Queue()
    with running(stream_of(steps)) as run:
        client = run.connect()
        client.send(get())
        steps.put(b"first")
        assert (b"Transfer-Encoding", b"chunked") in client.read_head()[1]
        assert client.read_chunk() == b"first"
        steps.put(b"")  # an empty block is no end
        steps.put(b"second")
        assert client.read_chunk() == b"second"
        steps.put(None)
        assert client.read_chunk() == b""


def test_a_stream_for_http_1_0_ends_with_the_connection():
    def stream(environ, start_response):
        start_response("200 OK", [])
        yield b"first "
        yield b"second"

    with running(stream) as run:
        answer = run.ask(get(version="HTTP/1.0"))
    assert answer.body == b"first second"
    assert "content-length" not in answer.fields
    assert "transfer-encoding" not in answer.fields


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_content_have_none(status):
    def app(environ, start_response):
        start_response(status, [("ETag", '"x"')])
        return [b"never sent"]

    with running(app) as run:
        client = run.connect()
        client.send(get() + get())
        for _ in range(2):
            answer = client.read()
            assert answer.code == int(status[:3])
            assert "transfer-encoding" not in answer.fields
            assert answer.fields["etag"] == '"x"'
            assert answer.raw_fields[0][0] == b"ETag"


def test_head_has_the_fields_of_get_and_no_body():
    with running(hello) as run:
        client = run.connect()
        answer = client.ask(get(method="HEAD"), "HEAD")
        assert answer.fields["content-length"] == "5"
        assert client.ask(get()).body == b"Hello"


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 100_000])
def test_a_body_with_a_length_reaches_the_app(body):
    with running(echo) as run:
        client = run.connect()
        for _ in range(2):
            assert client.ask(get("/", f"Content-Length: {len(body)}", method="POST", body=body)).body == body


def test_a_chunked_body_reaches_the_app_and_the_connection_goes_on():
    body = b"5\r\nHello\r\n7;name=value\r\n, world\r\n0\r\nX-Trailer: 1\r\n\r\n"
    with running(echo) as run:
        client = run.connect()
        for _ in range(2):
            assert client.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=body)).body == b"Hello, world"


def test_a_body_that_the_app_did_not_read_is_no_request():
    with running(hello) as run:
        client = run.connect()
        inner = get("/smuggled")
        client.send(get("/", f"Content-Length: {len(inner)}", method="POST", body=inner) + get())
        assert [client.read().body for _ in range(2)] == [b"Hello", b"Hello"]
        assert run.server.requests == 2


def test_100_continue_is_sent_once_and_only_when_the_body_is_read():
    with running(echo) as run:
        client = run.connect()
        client.send(get("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert client.read_head()[0] == b"HTTP/1.1 100 Continue"
        client.send(b"abc")
        assert client.read().body == b"abc"
    with running(hello) as run:
        client = run.connect()
        answer = client.ask(get("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert (answer.code, answer.fields["connection"]) == (200, "close")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: cake\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_a_malformed_head_is_answered_and_nothing_behind_it_is_executed(request_, code):
    with running(hello) as run:
        client = run.connect()
        answer = client.ask(request_ + get("/next"))
        assert (answer.code, answer.fields["connection"]) == (code, "close")
        assert client.is_closed()
        assert run.server.requests == 0


def test_a_body_over_the_limit_is_refused():
    with running(echo, limit_request_body=10) as run:
        assert run.ask(get("/", "Content-Length: 11", method="POST")).code == 413
        big = b"b\r\nHello world\r\n0\r\n\r\n"
        assert run.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=big)).code == 413


def test_an_app_that_fails_is_logged_and_answered_with_500(caplog):
    def app(environ, start_response):
        raise ValueError("secret")

    with running(app) as run:
        answer = run.ask(get())
    assert answer.code == 500
    assert b"secret" not in answer.body
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


def test_a_failure_after_the_head_cuts_the_body_off(caplog):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "10")])
        yield b"part"
        raise ValueError

    with running(app) as run:
        client = run.connect()
        client.send(get())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()


def test_a_body_that_is_too_long_does_not_spoil_the_next_answer(caplog):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "3")])
        return [b"too long"]

    with running(app) as run:
        client = run.connect()
        assert [client.ask(get()).body for _ in range(2)] == [b"too", b"too"]
    assert "longer than its Content-Length" in caplog.text


def test_a_body_that_is_too_short_ends_the_connection(caplog):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "30")])
        return [b"too short"]

    with running(app) as run:
        client = run.connect()
        client.send(get())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()
    assert "shorter than its Content-Length" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        [("X", "a\r\nSet-Cookie: x=1")],
        [("X", "a\nb")],
        [("X", "a\0b")],
        [("X Y", "a")],
        [("Connection", "close")],
        [("Transfer-Encoding", "chunked")],
        [("X", b"bytes")],
        (("X", "a tuple"),),
    ],
)
def test_a_header_that_breaks_http_is_refused_with_500(headers, caplog):
    def app(environ, start_response):
        start_response("200 OK", headers)
        return [b""]

    with running(app) as run:
        answer = run.ask(get())
    assert answer.code == 500
    assert "set-cookie" not in answer.fields
    assert caplog.records


def test_close_is_called_whatever_happens():
    closed = []

    class Body:
        def __init__(self, blocks):
            self.blocks = blocks

        def __iter__(self):
            return iter(self.blocks)

        def close(self):
            closed.append(self.blocks)

    def app(environ, start_response):
        start_response("200 OK", [])
        return Body([b"a"] if environ["PATH_INFO"] == "/good" else [1])

    with running(app) as run:
        assert run.ask(get("/good")).body == b"a"
        run.ask(get("/bad"))
    assert closed == [[b"a"], [1]]


def test_start_response_can_be_replaced_until_the_head_is_sent():
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Oops", [("X-Replaced", "1")], sys.exc_info())
        return [b"replaced"]

    with running(app) as run:
        answer = run.ask(get())
    assert (answer.code, answer.fields["x-replaced"], answer.body) == (500, "1", b"replaced")


def test_write_sends_at_once():
    go_on = greenserve.Event()

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"one")
        go_on.wait()
        write(b"two")
        return [b"three"]

    with running(app) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        assert client.read_chunk() == b"one"
        go_on.send()
        assert client.read_chunked() == b"twothree"[:3] + b"three"


def test_the_validator_of_the_standard_library_has_no_complaint():
    def app(environ, start_response):
        environ["wsgi.input"].read(10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"valid"]

    with running(validator(app)) as run:
        client = run.connect()
        assert client.ask(get("/path?q=1")).body == b"valid"
        assert client.ask(get("/", "Content-Length: 3", method="POST", body=b"abc")).body == b"valid"


@pytest.mark.parametrize("size", [0, 10, 100_000, 3_000_000])
def test_file_wrapper_sends_a_file_from_where_it_stands(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"head" + b"x" * size)

    def app(environ, start_response):
        file = path.open("rb")
        file.seek(4)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    def memory(environ, start_response):
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * size))

    for each in (app, memory):
        with running(each) as run:
            client = run.connect()
            assert client.ask(get()).body == b"x" * size
            assert client.ask(get()).body == b"x" * size


def test_environ_says_what_the_request_was():
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return hello(environ, start_response)

    with running(app) as run:
        run.ask(get("/a%20b/%C3%A9?q=%20", "X-One: 1", "x-one: 2", "Cookie: a=1", "Cookie: b=2", "X_Under: 1"))
        port = run.address[1]
    assert seen["REQUEST_METHOD"] == "GET"
    assert seen["PATH_INFO"] == "/a b/\xc3\xa9"
    assert seen["QUERY_STRING"] == "q=%20"
    assert seen["RAW_URI"] == seen["REQUEST_URI"] == "/a%20b/%C3%A9?q=%20"
    assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert seen["SERVER_PORT"] == str(port)
    assert seen["REMOTE_ADDR"] == "127.0.0.1"
    assert seen["HTTP_X_ONE"] == "1, 2"
    assert seen["HTTP_COOKIE"] == "a=1; b=2"
    assert "HTTP_X_UNDER" not in seen
    assert ("X_Under", "1") in seen["headers_raw"]
    assert seen["wsgi.input_terminated"] is True


def test_the_access_log_has_a_line_for_each_request():
    lines = io.StringIO()
    with running(hello, log=lines) as run:
        run.ask(get("/x?y", "User-Agent: me", "Referer: there"))
    assert '"GET /x?y HTTP/1.1" 200 5 "there" "me"' in lines.getvalue()


def test_the_access_log_is_silent_until_logging_is_configured(caplog):
    with caplog.at_level(logging.WARNING), running(hello) as run:
        run.ask(get())
        assert not run.server.access_log.enabled
    with caplog.at_level(logging.INFO), running(hello) as run:
        run.ask(get())
    assert [record.name for record in caplog.records if "GET" in record.getMessage()] == ["greenserve.access"]


def test_an_app_can_take_the_connection_over_with_what_was_read_ahead():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        sock.sendall(b"mine: " + sock.recv(100))
        return []

    with running(app) as run:
        client = run.connect()
        client.send(get() + b"ahead")
        assert client.file.read() == b"mine: ahead"


@pytest.mark.parametrize("error", [StopIteration, ConnectionError, None])
def test_the_ways_in_which_libraries_end_a_taken_connection_are_quiet(error, caplog):
    def app(environ, start_response):
        environ["wsgi.input"].get_socket().sendall(b"done")
        if error:
            raise error()
        start_response("200 OK", [])
        return [b"late"]

    with running(app) as run:
        client = run.connect()
        client.send(get())
        assert client.file.read() == b"done"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_graceful_stop_finishes_what_runs_and_closes_what_idles():
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            entered.send()
            go_on.wait()
        return hello(environ, start_response)

    with running(app) as run:
        idle, slow = run.connect(), run.connect()
        idle.ask(get())
        slow.send(get("/slow"))
        entered.wait()
        run.server.stop()
        answer = idle.ask(get())  # it was on its way
        assert (answer.code, answer.fields["connection"]) == (200, "close")
        assert not run.server.ended
        go_on.send()
        assert slow.read().fields["connection"] == "close"
        run.server.join()
        assert run.server.ended


def test_a_stop_without_grace_cuts_what_runs(caplog):
    entered = greenserve.Event()

    def app(environ, start_response):
        entered.send()
        greenserve.Event().wait()

    with running(app) as run:
        client = run.connect()
        client.send(get())
        entered.wait()
        run.server.stop(0)
        run.server.join()
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()
    assert "cut off 1 connection still in use" in caplog.text


@pytest.mark.parametrize(
    ("keyword", "sent", "code"),
    [
        ("head_timeout", b"GET / HT", 408),
        ("body_timeout", get("/", "Content-Length: 10", method="POST", body=b"abc"), 408),
    ],
)
def test_a_client_that_stalls_is_answered_with_408(keyword, sent, code):
    with running(echo, **{keyword: 0.1}) as run:
        client = run.connect()
        answer = client.ask(sent)
        assert (answer.code, answer.fields["connection"]) == (code, "close")
        assert client.is_closed()


def test_an_idle_connection_is_closed_without_a_word():
    with running(hello, keep_alive=0.1) as run:
        client = run.connect()
        client.ask(get())
        assert client.is_closed()


def test_a_client_that_takes_nothing_is_given_up():
    ended = greenserve.Event()

    def app(environ, start_response):
        try:
            start_response("200 OK", [])
            while True:
                yield b"x" * 65536
        finally:
            ended.send()

    with running(app, write_timeout=0.1) as run:
        client = run.connect()
        client.send(get())
        with greenserve.Timeout(5):
            ended.wait()


def test_names_are_title_cased_only_when_asked_for():
    def app(environ, start_response):
        start_response("200 OK", [("etag", "1"), ("x-UPPER", "2")])
        return [b""]

    with running(app) as run:
        assert [name for name, _ in run.ask(get()).raw_fields[:2]] == [b"etag", b"x-UPPER"]
    with running(app, capitalize_response_headers=True) as run:
        assert [name for name, _ in run.ask(get()).raw_fields[:2]] == [b"Etag", b"X-Upper"]


def test_no_more_than_max_size_connections_are_served_at_once(caplog):
    with running(hello, max_size=1) as run:
        first, second = run.connect(), run.connect()
        first.ask(get())
        second.send(get())
        second.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            second.read()
        second.close()
        first.close()
        second = run.connect()
        assert second.ask(get()).body == b"Hello"
    assert "max_size" in caplog.text
