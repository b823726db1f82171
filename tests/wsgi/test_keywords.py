"""The keywords of ``wsgi.server`` that eventlet's has too, with the same meaning."""

from __future__ import annotations

import io
import logging
import socket

import pytest

import greenserve
from greenserve import wsgi
from greenserve.wsgi import HttpProtocol, Server
from tests.wsgi.raw import get, running, serving


def hello(environ, start_response):
    start_response("200 OK", [("x-lower", "1"), ("ETag", "1")])
    return [b"Hello"]


def stream(environ, start_response):
    start_response("200 OK", [])
    return (block for block in (b"a" * 4, b"b" * 4, b"c" * 4, b"d"))


def test_environ_is_in_every_request_and_wins():
    seen = []

    def app(environ, start_response):
        seen.append((environ["my.key"], environ["wsgi.url_scheme"], environ["SERVER_SOFTWARE"], environ["PATH_INFO"]))
        return hello(environ, start_response)

    mine = {"my.key": object(), "wsgi.url_scheme": "https", "SERVER_SOFTWARE": "mine", "PATH_INFO": "/not-mine-to-set"}
    with serving(app, environ=mine) as run:
        client = run.connect()
        for path in ("/a", "/a", "/a", "/b"):
            client.ask(get(path))
    assert seen == [(mine["my.key"], "https", "mine", path) for path in ("/a", "/a", "/a", "/b")]


def test_environ_belongs_to_one_request():
    def app(environ, start_response):
        assert "mine" not in environ
        environ["mine"] = 1
        environ["HTTP_HOST"] = "changed"
        return hello(environ, start_response)

    with serving(app) as run:
        client = run.connect()
        assert [client.ask(get()).code for _ in range(4)] == [200] * 4


def test_max_http_version_none_is_no_limit():
    with serving(stream, max_http_version=None) as run:
        assert run.ask(get()).fields["transfer-encoding"] == "chunked"


def test_max_http_version_1_0_turns_chunks_and_unasked_keep_alive_off():
    with serving(stream, max_http_version="HTTP/1.0") as run:
        client = run.connect()
        answer = client.ask(get())
        assert answer.status_line == b"HTTP/1.0 200 OK"
        assert answer.fields["connection"] == "close"
        assert "transfer-encoding" not in answer.fields
        assert answer.body == b"aaaabbbbccccd"
    with serving(hello, max_http_version="HTTP/1.0") as run:
        assert run.ask(get()).fields["connection"] == "close"
        client = run.connect()
        for _ in range(2):
            answer = client.ask(get("/", "Connection: keep-alive"))
            assert (answer.body, answer.fields["connection"]) == (b"Hello", "keep-alive")


def test_http_1_0_alone_is_what_every_answer_says():
    def fail(environ, start_response):
        raise RuntimeError("on purpose")

    with serving(fail, max_http_version="HTTP/1.0") as run:
        for request in (get(), b"no request\r\n\r\n", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -\r\n\r\n"):
            client = run.connect()
            client.send(request)
            assert client.read_rest().startswith(b"HTTP/1.0 ")
    with serving(hello, max_http_version="HTTP/1.0") as run:
        client = run.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab")
        assert client.read_rest().count(b"HTTP/1.") == 1


@pytest.mark.parametrize("name", ["CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "HTTP_HOST"])
def test_the_callers_environ_may_not_say_what_each_request_says(name):
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(ValueError, match=name):
        Server(sock, hello, environ={name: "1"})


@pytest.mark.parametrize("listener", [None, ("127.0.0.1", 0), 3])
def test_what_is_no_green_socket_is_no_listener(listener):
    with pytest.raises(TypeError, match=r"can't serve on .*: give what greenserve\.listen\("):
        wsgi.server(listener, hello)


def test_a_server_without_any_listener_would_wait_for_ever():
    for none in ([], (), iter([])):
        with pytest.raises(ValueError, match="no listening socket"):
            wsgi.server(none, hello)


def test_listeners_may_come_as_any_iterable():
    with greenserve.listen(("127.0.0.1", 0)) as one, greenserve.listen(("127.0.0.1", 0)) as two:
        for given in ([one, two], (one, two), iter([one, two]), dict.fromkeys([one, two])):
            assert Server(given, hello).listeners == [one, two]


def test_a_socket_that_would_block_the_hub_is_no_listener():
    with socket.create_server(("127.0.0.1", 0)) as sock, pytest.raises(TypeError, match="can't serve on <socket"):
        wsgi.server(sock, hello)


def test_what_cannot_be_called_is_no_application():
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(TypeError, match="'hello' is no WSGI application"):
        wsgi.server(sock, "hello")


def test_a_subclass_of_the_protocol_handles_the_connections():
    class Mine(HttpProtocol):
        def handle_one_request(self):
            handled.append(self.address)
            return super().handle_one_request()

    handled = []
    with serving(hello, protocol=Mine) as run:
        assert run.ask(get()).body == b"Hello"
    assert len(set(handled)) == 1


def test_a_protocol_that_can_not_be_made_fails_for_its_connection_alone(caplog):
    class Mine(HttpProtocol):
        def __init__(self, *args):
            made.append(self)
            if len(made) == 1:
                raise ValueError("the first one")
            super().__init__(*args)

    made = []
    with serving(hello, protocol=Mine) as run:
        assert run.connect().is_closed()
        assert run.ask(get()).body == b"Hello"
    assert "the first one" in caplog.text


def test_server_event_gets_the_server_before_it_serves():
    event = greenserve.Event()
    thread = greenserve.spawn(wsgi.server, greenserve.listen(("127.0.0.1", 0)), hello, server_event=event)
    server = event.wait(5)
    assert isinstance(server, Server)
    server.stop()
    thread.wait()
    assert server.ended


@pytest.mark.parametrize(
    ("keywords", "extra", "chunks"),
    [
        ({}, {}, [b"aaaa", b"bbbb", b"cccc", b"d"]),
        ({"minimum_chunk_size": None}, {}, [b"aaaa", b"bbbb", b"cccc", b"d"]),
        ({"minimum_chunk_size": 1}, {}, [b"aaaa", b"bbbb", b"cccc", b"d"]),
        ({"minimum_chunk_size": 5}, {}, [b"aaaabbbb", b"ccccd"]),
        ({"minimum_chunk_size": 4096}, {}, [b"aaaabbbbccccd"]),
        ({}, {"eventlet.minimum_write_chunk_size": 5}, [b"aaaabbbb", b"ccccd"]),
        ({}, {"eventlet.minimum_write_chunk_size": "5"}, [b"aaaabbbb", b"ccccd"]),
        ({"minimum_chunk_size": 4096}, {"eventlet.minimum_write_chunk_size": 1}, [b"aaaa", b"bbbb", b"cccc", b"d"]),
    ],
)
def test_minimum_chunk_size_collects_small_blocks(keywords, extra, chunks):
    def app(environ, start_response):
        environ.update(extra)
        return stream(environ, start_response)

    with serving(app, **keywords) as run:
        client = run.connect()
        for _ in range(2):
            client.send(get())
            client.read_head()
            assert list(iter(client.read_chunk, b"")) == chunks


def test_a_custom_pool_bounds_the_connections_and_runs_them():
    pool = greenserve.GreenPool(1)
    running_in = []

    def app(environ, start_response):
        running_in.append(pool.running())
        return hello(environ, start_response)

    with serving(app, custom_pool=pool) as run:
        first, second, third = run.connect(), run.connect(), run.connect()
        assert first.ask(get()).body == b"Hello"
        second.send(get())
        assert not second.sock.wait_readable(0.05)
        assert running_in == [1]
        first.close()
        assert second.read().body == b"Hello"
        third.send(get("/", "Connection: close"))
        second.close()
        assert third.read().body == b"Hello"
    assert pool.running() == 0


def test_a_server_with_a_full_pool_stops(caplog):
    entered = greenserve.Event()

    def app(environ, start_response):
        entered.send()
        greenserve.Event().wait()

    with serving(app, custom_pool=greenserve.GreenPool(1)) as run:
        clients = [run.connect() for _ in range(3)]
        clients[0].send(get())
        entered.wait()
        greenserve.sleep(0)
        run.server.stop(0.1)
        with greenserve.Timeout(5):
            run.server.join()
        for client in clients:
            assert client.is_closed()


def test_keepalive_as_a_number_is_how_long_a_connection_may_be_idle():
    with serving(hello, keepalive=0.1) as run:
        client = run.connect()
        client.ask(get())
        assert client.is_closed()
    with serving(hello, keepalive=5) as run:
        client = run.connect()
        assert [client.ask(get()).code for _ in range(2)] == [200, 200]


def test_url_length_limit_is_for_the_request_line():
    line = len("GET / HTTP/1.1")
    with serving(hello, url_length_limit=100) as run:
        assert run.ask(get("/" + "x" * (100 - line))).code == 200
        assert run.ask(get("/" + "x" * (101 - line))).code == 414


def test_a_short_url_length_limit_is_kept_to_as_well():
    with serving(hello, url_length_limit=20) as run:
        assert run.ask(get("/abcdef")).code == 200
        assert run.ask(get("/abcdefg")).code == 414


WRONG = [
    ({"log": 5}, TypeError, "log=5 is neither a logger nor a file"),
    ({"log_format": 5}, TypeError, "log_format=5"),
    ({"log_format": "%(nothing)s"}, ValueError, r"log_format has no %\(nothing\)"),
    ({"environ": [("a", 1)]}, TypeError, "environ="),
    ({"protocol": 5}, TypeError, "protocol=5 is no subclass of greenserve.wsgi.protocol.HttpProtocol"),
    ({"protocol": Server}, TypeError, "protocol="),
    ({"server_event": 5}, TypeError, r"server_event=5 has no send\(\)"),
    ({"custom_pool": 5}, TypeError, r"custom_pool=5 has no spawn\(\)"),
    ({"minimum_chunk_size": "4096"}, TypeError, "minimum_chunk_size='4096'"),
    ({"minimum_chunk_size": True}, TypeError, "minimum_chunk_size=True"),
    ({"minimum_chunk_size": -1}, ValueError, "minimum_chunk_size=-1"),
    ({"max_http_version": "HTTP/2"}, ValueError, "max_http_version='HTTP/2'"),
    ({"max_http_version": 1.1}, ValueError, "max_http_version=1.1"),
    ({"keepalive": "often"}, ValueError, "the keyword keepalive"),
    ({"keepalive": -1}, ValueError, "the keyword keepalive"),
    ({"url_length_limit": 0}, ValueError, "the keyword url_length_limit"),
    ({"url_length_limit": "long"}, ValueError, "the keyword url_length_limit"),
    ({"socket_timeout": "long"}, ValueError, "the keyword socket_timeout"),
    ({"socket_timeout": -1}, ValueError, "the keyword socket_timeout"),
    ({"max_size": 0}, ValueError, "max_size"),
    ({"max_size": 1.5}, ValueError, "max_size"),
    ({"ssl_context": 5}, TypeError, "ssl_context=5"),
    *(
        ({name: "no"}, TypeError, f"{name}='no'")
        for name in (
            "debug", "log_output", "log_x_forwarded_for", "capitalize_response_headers", "allow_connect",
            "keep_underscores", "multiprocess",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("keywords", "error", "message"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_a_wrong_value_is_told_at_once_by_the_keyword_that_has_it(keywords, error, message):
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(error, match=message):
        wsgi.server(sock, hello, **keywords)


@pytest.mark.parametrize("serve", [Server, wsgi.server])
@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("keepalve", "did you mean keep_alive?"),
        ("log_fromat", "did you mean log_format?"),
        ("max_sise", "did you mean max_size?"),
        ("zzz", "it takes allow_connect, body_timeout, "),
    ],
)
def test_a_keyword_that_there_is_not_is_told_with_the_one_that_was_meant(serve, keyword, hint):
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(TypeError) as caught:
        serve(sock, hello, **{keyword: 5})
    assert str(caught.value).startswith(f"Server() takes no keyword {keyword}; {hint}")


def test_keepalive_is_a_keyword_of_the_function_and_the_class_says_what_its_own_is():
    message = r"^Server\(\) takes no keyword keepalive; did you mean keep_alive\?$"
    with greenserve.listen(("127.0.0.1", 0)) as sock, pytest.raises(TypeError, match=message):
        Server(sock, hello, keepalive="x")


def test_socket_timeout_is_for_a_client_that_keeps_the_server_waiting_anywhere():
    def app(environ, start_response):
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    with serving(app, socket_timeout=0.1) as run:
        nothing, head, body, idle = (run.connect() for _ in range(4))
        head.send(b"GET / HTTP/1.1\r\nHo")
        body.send(get("/", "Content-Length: 5", method="POST", body=b"abc"))
        assert idle.ask(get()).body == b"Hello"
        assert head.read().code == 408
        assert body.read().code == 408
        for client in (nothing, head, body, idle):
            assert client.is_closed()
    with serving(app, socket_timeout=0.1, keepalive=5) as run:  # which has its own
        idle = run.connect()
        assert idle.ask(get()).body == b"Hello"
        assert not idle.sock.wait_readable(0.3)
        assert idle.ask(get()).body == b"Hello"


@pytest.mark.parametrize(("wanted", "names"), [(True, [b"X-Lower", b"Etag"]), (False, [b"x-lower", b"ETag"])])
def test_capitalize_response_headers(wanted, names):
    with serving(hello, capitalize_response_headers=wanted) as run:
        assert [name for name, _ in run.ask(get()).raw_fields[:2]] == names


def test_debug_decides_whether_the_client_sees_a_traceback(caplog):
    def app(environ, start_response):
        raise ValueError("seen")

    for debug in (True, False):
        with serving(app, debug=debug) as run:
            assert (b"ValueError: seen" in run.ask(get()).body) is debug


def test_max_size_is_how_many_clients_are_served_at_once(caplog):
    with serving(hello, max_size=2) as run:
        clients = [run.connect() for _ in range(2)]
        for client in clients:
            client.ask(get())
        assert len(run.server.connections) == 2
        third = run.connect()
        third.send(get())
        assert not third.sock.wait_readable(0.05)
        clients[0].close()
        assert third.read().body == b"Hello"


def test_log_output_false_writes_no_access_line():
    lines = io.StringIO()
    with serving(hello, log=lines, log_output=False) as run:
        run.ask(get())
    assert lines.getvalue() == ""


def test_log_takes_whatever_has_the_methods_of_a_logger_or_of_a_file():
    class Logger:
        def __init__(self):
            self.lines = []

        def info(self, message, *args):
            self.lines.append(message % args)

        debug = info

    ours = Logger()
    with serving(hello, log=ours) as run:
        run.ask(get("/ours"))
    assert '"GET /ours HTTP/1.1" 200 5' in ours.lines[0]
    adapter = logging.LoggerAdapter(logging.getLogger("tests.access"), {})
    for log in (adapter, io.StringIO()):
        with serving(hello, log=log) as run:
            assert run.ask(get()).code == 200


def test_several_listeners_are_served_by_one_server():
    listeners = [greenserve.listen(("127.0.0.1", 0)) for _ in range(3)]
    addresses = [listener.getsockname() for listener in listeners]
    with running(hello, listener=listeners[0]) as first:
        second = Server(listeners[1:], hello)
        second.start()
        for address in addresses:
            first.address = address
            assert first.ask(get()).body == b"Hello"
        second.stop(0)
        second.join()


def test_an_unknown_keyword_or_a_wrong_value_is_said_at_once():
    listener = greenserve.listen(("127.0.0.1", 0))
    with pytest.raises(TypeError, match="head_timout"):
        wsgi.server(listener, hello, head_timout=3)
    with pytest.raises(ValueError, match="max_size"):
        wsgi.server(listener, hello, max_size=-1)
    listener.close()
