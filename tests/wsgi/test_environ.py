"""environ as a client shapes it (PEP 3333, RFC 3875, RFC 9112 section 3)."""

from __future__ import annotations

import sys
import threading

import pytest

import greenserve
from greenserve.wsgi import Server
from tests.wsgi.raw import Client, get, running


def environ_of(request, **keywords):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    with running(app, **keywords) as run:
        assert run.ask(request).code == 200
    return seen


@pytest.mark.parametrize(
    ("target", "path", "query", "raw_path"),
    [
        ("/", "/", "", "/"),
        ("/?", "/", "", "/"),
        ("/a/b?c=d&e", "/a/b", "c=d&e", "/a/b"),
        ("/%41%2fb%2F?%41", "/A/b/", "%41", "/%41%2fb%2F"),
        ("/a+b?a+b", "/a+b", "a+b", "/a+b"),
        ("/%E2%82%AC", "/\xe2\x82\xac", "", "/%E2%82%AC"),
        ("/%25%00%0a", "/%\0\n", "", "/%25%00%0a"),
        ("//x//y/../z", "//x//y/../z", "", "//x//y/../z"),
        ("/a?b?c=/d", "/a", "b?c=/d", "/a"),
        ("/a;b=c,d:e@f", "/a;b=c,d:e@f", "", "/a;b=c,d:e@f"),
        ("http://example.org/x%20y?q", "/x y", "q", "/x%20y"),
        ("http://example.org", "/", "", "/"),
        ("http://example.org?q=1", "/", "q=1", "/"),
        ("HTTPS://[::1]:8080/p", "/p", "", "/p"),
    ],
)
def test_the_target_in_its_parts(target, path, query, raw_path):
    environ = environ_of(get(target))
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["RAW_PATH_INFO"] == raw_path
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == target
    assert environ["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(
    ("target", "host"), [("http://a.example:81/", "a.example:81"), ("/", "test"), ("http://[::1]/", "[::1]")]
)
def test_the_authority_of_an_absolute_target_wins_over_host(target, host):
    environ = environ_of(get(target))
    assert environ["HTTP_HOST"] == host
    assert ("Host", "test") in environ["headers_raw"]


def test_options_asterisk():
    environ = environ_of(get("*", method="OPTIONS"))
    assert (environ["PATH_INFO"], environ["RAW_URI"], environ["REQUEST_METHOD"]) == ("", "*", "OPTIONS")


def test_connect_is_501_unless_asked_for():
    request = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    with running(lambda environ, start_response: []) as run:
        assert run.ask(request).code == 501
    environ = environ_of(request, allow_connect=True)
    assert (environ["REQUEST_METHOD"], environ["RAW_URI"], environ["PATH_INFO"]) == ("CONNECT", "example.org:443", "")


@pytest.mark.parametrize("method", ["GET", "get", "PATCH", "PROPFIND", "X-Y.Z!#$%&'*+^_`|~9"])
def test_methods_are_tokens_and_kept_as_they_are(method):
    assert environ_of(get(method=method))["REQUEST_METHOD"] == method


def test_fields_repeats_and_order():
    request = get(
        "/",
        "Accept: a",
        "X-Thing:\t 1 ",
        "accept: b",
        "Cookie: c=1",
        "cookie: d=2",
        "X-Latin: caf\xe9",
        "X_Thing: 2",
        "X-Empty:",
        "Content-Type: text/x",
        "Content-Length: 3",
        body=b"abc",
    )
    environ = environ_of(request)
    assert environ["HTTP_ACCEPT"] == "a, b"
    assert environ["HTTP_COOKIE"] == "c=1; d=2"
    assert environ["HTTP_X_THING"] == "1"
    assert environ["HTTP_X_LATIN"] == "caf\xe9"
    assert environ["HTTP_X_EMPTY"] == ""
    assert (environ["CONTENT_TYPE"], environ["CONTENT_LENGTH"]) == ("text/x", "3")
    assert "HTTP_CONTENT_TYPE" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ
    names = [name for name, _ in environ["headers_raw"]]
    assert names == (
        "Host Accept X-Thing accept Cookie cookie X-Latin X_Thing X-Empty Content-Type Content-Length".split()
    )
    assert environ_of(get("/", "X_Thing: 2"), keep_underscores=True)["HTTP_X_THING"] == "2"


def test_types_are_the_native_ones_and_the_values_of_the_interface_are_there():
    environ = environ_of(get("/", "A: 1"))
    assert type(environ) is dict
    for name, value in environ.items():
        assert isinstance(name, str)
        if name.isupper():
            assert type(value) is str, name
    assert environ["wsgi.version"] == (1, 0)
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.errors"] is sys.stderr
    assert environ["wsgi.multithread"] is True
    assert environ["wsgi.multiprocess"] is False
    assert environ["wsgi.run_once"] is False
    assert environ["wsgi.input_terminated"] is True
    assert environ["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["SERVER_SOFTWARE"].startswith("greenserve/")
    assert environ["wsgi.input"] is environ["eventlet.input"]
    assert "HTTPS" not in environ
    assert environ_of(get(version="HTTP/1.0"))["SERVER_PROTOCOL"] == "HTTP/1.0"


def test_addresses_of_ipv4():
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return [b""]

    with running(app) as run:
        run.ask(get())
        host, port = run.clients[0].sock.getsockname()
        assert (seen["REMOTE_ADDR"], seen["REMOTE_PORT"]) == (host, str(port))
        assert (seen["SERVER_NAME"], seen["SERVER_PORT"]) == ("127.0.0.1", str(run.address[1]))


def test_addresses_of_ipv6():
    listener = greenserve.listen(("::1", 0))
    port = listener.getsockname()[1]
    environ = environ_of(get(), listener=listener)
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("::1", "::1", str(port))


def test_addresses_of_a_unix_socket(tmp_path):
    environ = environ_of(get(), listener=greenserve.listen(str(tmp_path / "socket")))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("", "")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "80")


def test_the_same_head_again_gives_an_equal_environ_each_time():
    seen = []

    def app(environ, start_response):
        seen.append({key: value for key, value in environ.items() if key != "eventlet.posthooks"})
        environ["HTTP_HOST"] = "changed by the app"
        environ.pop("PATH_INFO")
        start_response("200 OK", [])
        return [b""]

    with running(app) as run:
        client = run.connect()
        for _ in range(5):
            client.ask(get("/a?b", "X: 1"))
        client.ask(get("/a?b", "X: 2"))
        client.ask(get("/a?b", "X: 1"))
    assert all(environ == seen[0] for environ in [*seen[:5], seen[6]])
    assert seen[5] == {**seen[0], "HTTP_X": "2", "headers_raw": (("Host", "test"), ("X", "2"))}


def test_two_servers_in_one_process_keep_apart_and_one_may_be_in_another_os_thread():
    def app_of(name):
        def app(environ, start_response):
            start_response("200 OK", [])
            return [f"{name} {threading.current_thread().name}".encode()]

        return app

    ready: list[Server] = []
    started = threading.Event()
    listener = greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()

    def serve() -> None:
        server = Server(listener, app_of("second"))
        server.start()
        ready.append(server)
        started.set()
        server.serve_forever()

    thread = threading.Thread(target=serve, name="other")
    thread.start()
    started.wait(10)
    with running(app_of("first")) as run:
        other = Client(address)
        for _ in range(3):
            assert run.ask(get()).body == b"first MainThread"
            assert other.ask(get()).body == b"second other"
        other.close()
    ready[0].stop(0)
    thread.join(10)
    assert not thread.is_alive()
