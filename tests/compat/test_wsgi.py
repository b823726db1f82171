from __future__ import annotations

import io
import os
import re
import socket as native
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from greenlet import GreenletExit

from greenserve.compat.eventlet import _face as eventlet
from greenserve.compat.eventlet._face import wsgi

REQUEST = b"GET /a%20b?c=d HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nConnection: close\r\n\r\n"

Ask = Callable[..., tuple[bytes, str]]


def hello(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("content-type", "text/plain"), ("x-eTag", "1")])
    return [b"hello"]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Serve an app, send one request, and return the answer and the log."""
    threads = []

    def run(app: Any, request: bytes = REQUEST, **keywords: Any) -> tuple[bytes, str]:
        log = io.StringIO()
        listener = eventlet.listen(("127.0.0.1", 0))
        threads.append(eventlet.spawn(wsgi.server, listener, app, log, **keywords))
        with eventlet.connect(listener.getsockname()) as sock:
            sock.sendall(request)
            answer = b""
            while block := sock.recv(65536):
                answer += block
        eventlet.sleep(0)
        return answer, log.getvalue()

    yield run
    for thread in threads:
        thread.kill()
        with pytest.raises(GreenletExit):
            thread.wait()


def test_the_log_is_eventlets(ask: Ask) -> None:
    answer, log = ask(hello)
    assert answer.endswith(b"\r\n\r\nhello")
    first, second, third = log.splitlines()
    pid = os.getpid()
    assert re.fullmatch(rf"\({pid}\) wsgi starting up on http://127\.0\.0\.1:\d+", first)
    assert re.fullmatch(rf"\({pid}\) accepted \('127\.0\.0\.1', \d+\)", second)
    assert re.fullmatch(
        r"192\.0\.2\.1,192\.0\.2\.2,127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "
        r'"GET /a%20b\?c=d HTTP/1\.1" 200 5 0\.\d{6}',
        third,
    )


def test_field_names_are_title_cased_unless_that_is_turned_off(ask: Ask) -> None:
    assert b"\r\nContent-Type: text/plain\r\nX-Etag: 1\r\n" in ask(hello)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        answer, _ = ask(hello, capitalize_response_headers=False)
    assert b"\r\ncontent-type: text/plain\r\nx-eTag: 1\r\n" in answer


@pytest.mark.parametrize(
    ("keywords", "logged"),
    [
        ({"log_output": False}, []),
        ({"log_format": "%(status_code)s %(client_ip)s"}, ["200 192.0.2.1,192.0.2.2,127.0.0.1"]),
        ({"log_format": "%(client_ip)s", "log_x_forwarded_for": False}, ["127.0.0.1"]),
    ],
)
def test_what_is_logged_is_asked_for_by_keyword(ask: Ask, keywords: dict[str, Any], logged: list[str]) -> None:
    assert ask(hello, **keywords)[1].splitlines()[2:] == logged


def test_environ_has_eventlets_keys(ask: Ask) -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.update(environ)
        return hello(environ, start_response)

    ask(app, environ={"own.key": 5})
    wanted = {
        "RAW_PATH_INFO": "/a%20b",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "own.key": 5,
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert seen["headers_raw"][1] == ("X-Forwarded-For", "192.0.2.1, 192.0.2.2")
    assert seen["REMOTE_PORT"].isdigit()
    assert seen["eventlet.input"] is seen["wsgi.input"]
    assert callable(seen["eventlet.set_idle"])


def test_posthooks_are_called_after_the_answer(ask: Ask) -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        hook = lambda environ, *args, **kwargs: seen.append((environ["PATH_INFO"], args, kwargs))  # noqa: E731
        environ["eventlet.posthooks"].append((hook, (1,), {"a": 2}))
        return hello(environ, start_response)

    ask(app)
    assert seen == [("/a b", (1,), {"a": 2})]


def test_text_and_numbers_are_taken_as_they_are_written(ask: Ask) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", 6)])
        yield "abc"
        yield b"def"

    answer, _ = ask(app)
    assert b"\r\nContent-Length: 6\r\n" in answer
    assert answer.endswith(b"\r\n\r\nabcdef")


def test_small_blocks_are_collected_unless_the_request_says_otherwise(ask: Ask) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"a"
        yield b"b"

    def at_once(environ: dict[str, Any], start_response: Any) -> Any:
        environ["eventlet.minimum_write_chunk_size"] = 1
        return app(environ, start_response)

    assert ask(app)[0].endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n")
    assert ask(app, minimum_chunk_size=1)[0].endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert ask(at_once)[0].endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert wsgi.HttpProtocol.minimum_chunk_size == 4096


@pytest.mark.parametrize("streams", [False, True])
def test_an_app_may_answer_by_itself(ask: Ask, streams: bool) -> None:
    def stream(environ: dict[str, Any]) -> Iterator[bytes]:
        environ["eventlet.input"].get_socket().sendall(b"its own answer")
        wsgi.WSGI_LOCAL.already_handled = True
        yield from ()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        blocks = stream(environ)
        return blocks if streams else list(blocks)

    assert ask(app)[0] == b"its own answer"


def test_what_an_app_raises_is_logged_and_shown_only_when_that_is_asked_for(ask: Ask) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        raise ValueError("a secret")

    answer, log = ask(app)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert "ValueError: a secret" in log
    assert b"ValueError: a secret" in ask(app, debug=True)[0]


def test_a_protocol_may_be_a_subclass(ask: Ask) -> None:
    ended: list[str] = []

    class Protocol(wsgi.HttpProtocol):
        def get_environ(self) -> dict[str, Any]:
            environ = super().get_environ()
            environ["seen"] = (self.command, self.path, self.request_version, self.headers["host"])
            return environ

        def get_client_address(self) -> tuple[str, Any]:
            return ("somebody", 5)

        def formalize_key_naming(self, k: str) -> str | None:
            return k.replace("-", "_").upper()

        def finish(self) -> None:
            ended.append(self.conn_state[2])
            super().finish()

    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.update(environ)
        return hello(environ, start_response)

    _, log = ask(app, REQUEST.replace(b"Host: h", b"Host: h\r\nx_y: z"), protocol=Protocol)
    assert seen["seen"] == ("GET", "/a%20b?c=d", "HTTP/1.1", "h")
    assert seen["HTTP_X_Y"] == "z"
    assert log.splitlines()[2].startswith("somebody - - ")
    assert ended == ["idle"]


def test_one_connection_can_be_served_by_itself() -> None:
    client, conn = (eventlet.greenio.GreenSocket(sock) for sock in native.socketpair())
    log = io.StringIO()
    server = wsgi.Server(conn, ("", 0), hello, log)
    client.sendall(REQUEST)
    state = [("127.0.0.1", 5), conn, wsgi.STATE_IDLE]
    server.process_request(state)
    assert client.recv(1000).endswith(b"\r\n\r\nhello")
    assert (state[2], server.outstanding_requests, len(server.connections)) == (wsgi.STATE_CLOSE, 0, 0)
    client.close()


def test_a_server_stops_with_the_connection_after_is_accepting_was_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = eventlet.listen(("127.0.0.1", 0))
    log = io.StringIO()
    thread = eventlet.spawn(wsgi.server, listener, hello, log)
    eventlet.sleep(0)
    monkeypatch.setattr(wsgi, "is_accepting", False)
    eventlet.connect(listener.getsockname()).close()
    with eventlet.Timeout(10):
        thread.wait()
    assert log.getvalue().endswith("wsgi exited, is_accepting=False\n")


def test_a_pool_of_the_callers_own_bounds_the_connections(ask: Ask) -> None:
    pool = eventlet.GreenPool(5)
    assert ask(hello, custom_pool=pool)[0].endswith(b"hello")
    with eventlet.listen(("127.0.0.1", 0)) as listener, pytest.raises(AttributeError, match="spawn"):
        wsgi.server(listener, hello, custom_pool=object())


def test_a_server_has_the_protocol_that_it_was_given_while_a_connection_waits_for_a_place_in_the_pool() -> None:
    class Protocol(wsgi.HttpProtocol):
        pass

    entered, leave = eventlet.Event(), eventlet.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        entered.send()
        leave.wait()
        return hello(environ, start_response)

    pool = eventlet.GreenPool(1)
    listener = eventlet.listen(("127.0.0.1", 0))
    server = wsgi.Server(listener, listener.getsockname(), app, io.StringIO(), protocol=Protocol, pool=pool)
    serving = eventlet.spawn(server.serve_forever)
    with (
        eventlet.connect(listener.getsockname()) as first,
        eventlet.connect(listener.getsockname()),
        eventlet.Timeout(10),
    ):
        first.sendall(REQUEST)
        entered.wait()
        while not pool.waiting():
            eventlet.sleep(0)
        assert server.protocol is Protocol
        leave.send()
        assert first.recv(12) == b"HTTP/1.1 200"
    serving.kill()


def test_an_input_made_by_hand_reads_a_file() -> None:
    chunked = wsgi.Input(io.BytesIO(b"3\r\nabc\r\n2;x=y\r\nd\n\r\n0\r\n\r\n"), None, None, chunked_input=True)
    assert chunked.read() == b"abcd\n"
    assert list(wsgi.Input(io.BytesIO(b"a\nbc"), 3, None)) == [b"a\n", b"b"]
    with pytest.raises(wsgi.ChunkReadError):
        wsgi.Input(io.BytesIO(b"x\r\n"), None, None, chunked_input=True).read()


def test_dates_are_written_as_http_has_them() -> None:
    assert wsgi.format_date_time(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_a_body_behind_the_last_chunk_of_one_is_read_after_another_100(ask: Ask) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        body = environ["wsgi.input"]
        body.set_hundred_continue_response_headers([("x-part", "1")])
        parts = [body.read()]
        body.set_hundred_continue_response_headers([("x-part", "2")])
        body.send_hundred_continue_response()
        parts.append(body.read())
        start_response("200 OK", [])
        return [b" and ".join(parts)]

    head = (
        b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    answer, _ = ask(app, head + b"3\r\none\r\n0\r\n\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\nX-Part: 1\r\n\r\nHTTP/1.1 100 Continue\r\nX-Part: 2\r\n\r\n")
    assert answer.endswith(b"\r\n\r\none and two")


def test_a_client_on_a_unix_socket_is_called_unix() -> None:
    client, conn = (eventlet.greenio.GreenSocket(sock) for sock in native.socketpair())
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.update(environ)
        return hello(environ, start_response)

    log = io.StringIO()
    client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    wsgi.Server(conn, "", app, log).process_request(["", conn, wsgi.STATE_IDLE])
    client.close()
    assert [seen[name] for name in ("SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR")] == ["unix", "", "unix"]
    assert log.getvalue().startswith("unix - - [")


def test_each_request_of_a_connection_is_logged_as_itself() -> None:
    client, conn = (eventlet.greenio.GreenSocket(sock) for sock in native.socketpair())
    request = b"GET /%d HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.%d\r\n%b\r\n"
    log = io.StringIO()
    client.sendall(request % (1, 1, b"") + request % (2, 2, b"") + request % (3, 3, b"Connection: close\r\n"))
    server = wsgi.Server(conn, ("", 0), hello, log, log_format="%(client_ip)s %(request_line)s")
    server.process_request([("127.0.0.1", 5), conn, wsgi.STATE_IDLE])
    client.close()
    assert log.getvalue().splitlines() == [f"192.0.2.{n},127.0.0.1 GET /{n} HTTP/1.1" for n in (1, 2, 3)]


def test_a_client_that_stalls_for_socket_timeout_is_hung_up_on_without_a_word(ask: Ask) -> None:
    answer, log = ask(hello, b"GET / HTTP/1.1\r\n", socket_timeout=0.05)
    assert answer == b""
    assert '"GET' not in log


def test_an_idle_connection_ends_when_its_keepalive_is_over() -> None:
    listener = eventlet.listen(("127.0.0.1", 0))
    server = eventlet.spawn(wsgi.server, listener, hello, log_output=False, keepalive=0.1)
    with eventlet.connect(listener.getsockname()) as sock:
        began = time.monotonic()
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert sock.recv(65536).endswith(b"hello")
        assert sock.recv(65536) == b""
        assert time.monotonic() - began >= 0.09
    server.kill()


def test_a_connection_whose_send_was_replaced_may_send_parts() -> None:
    listener = eventlet.listen(("127.0.0.1", 0))
    accept = listener.accept
    sizes = []

    def accept_slow_one() -> tuple[Any, Any]:
        conn, address = accept()
        send = conn.send

        def send_a_little(data: Any, *flags: int) -> int:
            sizes.append(len(data))
            return int(send(data[:50], *flags))

        conn.send = send_a_little
        return conn, address

    listener.accept = accept_slow_one  # type: ignore[method-assign]  # that is what is tested
    server = eventlet.spawn(wsgi.server, listener, hello, log_output=False)
    with eventlet.connect(listener.getsockname()) as sock:
        sock.sendall(REQUEST)
        answer = b""
        while block := sock.recv(65536):
            answer += block
    server.kill()
    assert answer.endswith(b"\r\n\r\nhello")
    assert sizes == [len(answer) - start for start in range(0, len(answer), 50)]


def test_a_killed_server_hangs_up_on_idle_connections_and_lets_a_request_finish() -> None:
    listener = eventlet.listen(("127.0.0.1", 0))
    entered, go_on = eventlet.Event(), eventlet.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/slow":
            entered.send()
            go_on.wait()
        return hello(environ, start_response)

    server = eventlet.spawn(wsgi.server, listener, app, log_output=False)
    idle, busy = (eventlet.connect(listener.getsockname()) for _ in range(2))
    idle.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert idle.recv(65536).endswith(b"hello")
    busy.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
    entered.wait()
    server.kill()
    eventlet.sleep(0)
    assert listener.fileno() < 0
    assert idle.recv(1) == b""
    assert not server.dead
    go_on.send()
    assert busy.recv(65536).endswith(b"hello")
    with pytest.raises(GreenletExit):
        server.wait()
    idle.close()
    busy.close()


@pytest.mark.parametrize(
    ("field", "kept"),
    [(("Connection", "close"), False), (("Connection", "Keep-Alive"), True), (("Keep-Alive", "timeout=9"), True)],
)
def test_what_an_app_says_of_the_connection_is_done(ask: Ask, field: tuple[str, str], kept: bool) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [field])
        return [b"."]

    request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answer, _ = ask(app, request + last)
    assert answer.count(b"HTTP/1.1 200 OK") == 1 + kept
    assert answer.count(b"Connection: close\r\n") == 1
    assert b"timeout=9" not in answer


@pytest.mark.parametrize(
    ("header", "hint"), [(("X-Name", "snow \u2603"), "RFC 8187"), (("X-\u2603", "a"), "header names")]
)
def test_a_field_that_is_no_latin_1_is_refused_with_a_hint(header: tuple[str, str], hint: str) -> None:
    with pytest.raises(UnicodeEncodeError, match=hint):
        wsgi._encode_header_line(header)
