"""The access log: a line for each request, every atom of both formats, and nothing that a client could forge."""

from __future__ import annotations

import base64
import io
import logging
import re

import pytest

import greenserve
from greenserve.wsgi.accesslog import COMBINED, EVENTLET, AccessLog
from tests.wsgi.raw import get, running, serving


def app(environ, start_response):
    environ["wsgi.input"].read()
    environ["my.variable"] = 'in "environ"'
    start_response("201 Created", [("X-One", "1"), ("x-one", "2"), ("Content-Type", "text/plain")])
    return [] if environ["PATH_INFO"] == "/empty" else [b"Hello"]


def line_of(log_format, request, *, method="GET", **keywords):
    lines = io.StringIO()
    with running(app, log=lines, log_format=log_format, **keywords) as run:
        run.ask(request, method)
        port = run.clients[0].sock.getsockname()[1]
    (line,) = lines.getvalue().splitlines()
    return line, port


FULL = get(
    "/pa%20th?a=1",
    "User-Agent: me",
    "Referer: there",
    "X-Forwarded-For: 1.2.3.4",
    "Cookie: a=1",
    "Authorization: Basic " + base64.b64encode(b"user:secret").decode(),
)


@pytest.mark.parametrize(
    ("atom", "pattern"),
    [
        ("%(h)s", "127.0.0.1"),
        ("%(l)s", "-"),
        ("%(u)s", "user"),
        ("%(t)s", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
        ("%(r)s", r"GET /pa%20th\?a=1 HTTP/1\.1"),
        ("%(m)s", "GET"),
        ("%(U)s", "/pa%20th"),
        ("%(q)s", "a=1"),
        ("%(H)s", r"HTTP/1\.1"),
        ("%(s)s", "201"),
        ("%(B)s", "5"),
        ("%(B)d", "5"),
        ("%(b)s", "5"),
        ("%(f)s", "there"),
        ("%(a)s", "me"),
        ("%(T)s", "0"),
        ("%(M)s", r"\d{1,4}"),
        ("%(D)s", r"\d{1,7}"),
        ("%(L)s", r"\d\.\d{6}"),
        ("%(p)s", r"<\d+>"),
        ("%({user-agent}i)s", "me"),
        ("%({User-Agent}i)s", "me"),
        ("%({cookie}i)s", "a=1"),
        ("%({absent}i)s", "-"),
        ("%({x-one}o)s", "1, 2"),
        ("%({CONTENT-type}o)s", "text/plain"),
        ("%({absent}o)s", "-"),
        ("%({my.variable}e)s", r"in \\\"environ\\\""),
        ("%({REQUEST_METHOD}e)s", "GET"),
        ("%({request_method}e)s", "GET"),
        ("%({WSGI.url_scheme}e)s", "http"),
        ("%({absent}e)s", "-"),
        ("%(client_ip)s", "127.0.0.1"),
        ("%(date_time)s", r"\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d"),
        ("%(request_line)s", r"GET /pa%20th\?a=1 HTTP/1\.1"),
        ("%(status_code)s", "201"),
        ("%(body_length)s", "5"),
        ("%(wall_seconds).6f", r"\d\.\d{6}"),
        ("100%% %(s)s", "100% 201"),
        ("%(s)6s/%(s)-6s/", "   201/201   /"),
    ],
)
def test_every_atom_says_what_it_is_for(atom, pattern):
    line, _ = line_of(atom, FULL)
    assert re.fullmatch(pattern, line)


def test_no_query_is_an_empty_one():
    assert line_of("%(U)s?%(q)s", get("/page"))[0] == "/page?"


def test_the_clients_port_is_an_atom():
    line, port = line_of("%(client_port)s", FULL)
    assert line == str(port)


def test_the_two_named_formats():
    line, _ = line_of(COMBINED, FULL)
    assert re.fullmatch(r'127\.0\.0\.1 - user \[[^]]+\] "GET /pa%20th\?a=1 HTTP/1\.1" 201 5 "there" "me"', line)
    line, _ = line_of(EVENTLET, FULL)
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /pa%20th\?a=1 HTTP/1\.1" 201 5 \d\.\d{6}', line)
    line, _ = line_of(None, FULL)
    assert line.endswith('"there" "me"')


@pytest.mark.parametrize(("path", "method", "size"), [("/empty", "GET", "-"), ("/", "HEAD", "-"), ("/", "GET", "5")])
def test_the_size_is_that_of_the_body_that_was_sent(path, method, size):
    assert line_of("%(b)s", get(path, method=method), method=method)[0] == size


def test_the_size_of_a_page_about_a_failure_counts_too(caplog):
    def fail(environ, start_response):
        raise ValueError

    lines = io.StringIO()
    with running(fail, log=lines, log_format="%(s)s %(b)s") as run:
        answer = run.ask(get())
    assert lines.getvalue() == f"500 {len(answer.body)}\n"


def test_a_line_is_written_for_each_request_whatever_became_of_it(caplog):
    def various(environ, start_response):
        if environ["PATH_INFO"] == "/silent":
            return []
        start_response("200 OK", [("Content-Length", "10")])
        if environ["PATH_INFO"] == "/short":
            return [b"abc"]
        return (1 // 0 for _ in "x")

    lines = io.StringIO()
    with running(various, log=lines, log_format="%(U)s %(s)s %(B)s") as run:
        for path in ("/short", "/fails", "/silent"):
            client = run.connect()
            client.send(get(path))
            client.is_closed() or client.is_closed()
            client.close()
        while run.server.connections:
            greenserve.sleep(0)
    short, fails, silent = lines.getvalue().splitlines()
    assert short == "/short 200 3"
    assert fails.startswith("/fails 500 ")
    assert silent.startswith("/silent 500 ")


BIG = "x" * 9000


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        # Refused for what it asks: all of its head is known.
        (get("/a?b", "User-Agent: me", "Content-Length: x", method="POST"), '"POST /a?b HTTP/1.1" 400 "me" /a [b]'),
        (get("/a", "User-Agent: me", "Content-Length: 11", method="PUT"), '"PUT /a HTTP/1.1" 413 "me" /a []'),
        (get("/", "User-Agent: me", "Expect: tea", "Content-Length: 1"), '"GET / HTTP/1.1" 417 "me" / []'),
        (get("/", "User-Agent: me", "Transfer-Encoding: gzip"), '"GET / HTTP/1.1" 501 "me" / []'),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", '"CONNECT a:1 HTTP/1.1" 501 "-" - []'),
        (b"GET / HTTP/1.1\r\n\r\n", '"GET / HTTP/1.1" 400 "-" / []'),
        # Refused for how it is written: the words of its first line.
        (get("/a?b", "User-Agent : me"), '"GET /a?b HTTP/1.1" 400 "-" /a [b]'),
        (get("/a", "X: " + BIG), '"GET /a HTTP/1.1" 431 "-" /a []'),
        (get("/" + BIG), f'"GET /{BIG[:8190 - 5]} -" 414 "-" /{BIG[:8190 - 5]} []'),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", '"GET / HTTP/2.0" 505 "-" / []'),
        (b"\r\n\r\nGET  / HTTP/1.1\r\n\r\n", '"GET  / HTTP/1.1" 400 "-"  / []'),
        (b"GET /a b HTTP/1.1\r\n\r\n", '"GET /a b HTTP/1.1" 400 "-" /a b []'),
        (b"GET /\r\n\r\n", '"GET / -" 400 "-" / []'),
        (b"hello\r\n\r\n", '"hello - -" 400 "-" - []'),
        (b'GET /" HTTP/1.1\r\nX\r\n\r\n', '"GET /\\" HTTP/1.1" 400 "-" /\\" []'),
        (b"GET /\x1b[1m\x00\x9b HTTP/1.1\r\n\r\n", r'"GET /\x1b[1m\x00\x9b HTTP/1.1" 400 "-" /\x1b[1m\x00\x9b []'),
        (b"\x16\x03\x01\x02 x", r'"- \x16\x03\x01\x02 x -" 400 "-" \x16\x03\x01\x02 x []'),
        (b"\r\n" * 9, '"- - -" 400 "-" - []'),
    ],
)  # fmt: skip
def test_a_request_that_is_refused_has_its_line_with_what_is_known_of_it(request_bytes, expected):
    lines = io.StringIO()
    log_format = '%(h)s "%(r)s" %(s)s "%(a)s" %(U)s [%(q)s]'
    with running(app, log=lines, log_format=log_format, limit_request_body=10) as run:
        run.ask(request_bytes)
        assert (run.server.refused, run.server.requests) == (1, 0)
    assert lines.getvalue() == f"127.0.0.1 {expected}\n"


def test_the_line_of_a_refused_request_has_the_size_of_the_answer_its_fields_and_the_reason():
    lines = io.StringIO()
    log_format = "%(s)s %(B)s %({greenserve.refused}e)s"
    with running(app, log=lines, log_format=log_format) as run:
        body = run.ask(b"nonsense\r\n\r\n").body
        assert run.ask(b"HEAD / HTTP/1.1\r\n\r\n", "HEAD").body == b""
    assert lines.getvalue().splitlines() == [
        f"400 {len(body)} the request line is not method, target and version with one space between",
        "400 0 no Host",
    ]


def test_a_head_that_comes_too_slowly_has_its_line_with_the_time_that_it_took():
    lines = io.StringIO()
    with running(app, log=lines, log_format='"%(r)s" %(s)s %(L)s', head_timeout=0.2) as run:
        assert run.ask(b"GET /slow HTTP/1.1\r\nHo").code == 408
        nobody = run.connect()
        assert nobody.is_closed()  # who has said nothing has made no request
    (line,) = lines.getvalue().splitlines()
    assert line.startswith('"GET /slow HTTP/1.1" 408 ')
    assert 0.1 < float(line.split()[-1]) < 5


def test_the_clients_address_in_the_line_of_a_refused_request_is_the_proxys_word_where_that_can_be_read():
    lines = io.StringIO()
    with running(app, log=lines, log_format="%(h)s %(s)s", forwarded_allow_ips="127.0.0.1") as run:
        run.ask(get("/", "X-Forwarded-For: 203.0.113.9", "Content-Length: x"))
        run.ask(get("/", "X-Forwarded-For: nonsense"))
    assert lines.getvalue() == "203.0.113.9 400\n127.0.0.1 400\n"


def test_a_refused_request_goes_through_eventlets_format_and_leaves_the_connections_environ_as_it_was():
    lines = io.StringIO()
    with running(app, log=lines, log_format=EVENTLET) as run:
        client = run.connect()
        client.ask(get("/first"))
        assert client.ask(b"GET /second HTTP/1.1\r\nX Y\r\n\r\n").code == 400
    first, second = lines.getvalue().splitlines()
    assert '"GET /first HTTP/1.1" 201 5 ' in first
    assert re.search(r'"GET /second HTTP/1\.1" 400 \d+ \d\.\d{6}$', second)


def test_a_client_that_left_is_logged_with_what_it_got():
    ended = greenserve.Event()

    def endless(environ, start_response):
        environ["eventlet.posthooks"].append((lambda environ: ended.send(), (), {}))
        start_response("200 OK", [])
        while True:
            yield b"x" * 1000

    lines = io.StringIO()
    with running(endless, log=lines, log_format="%(s)s %(B)s") as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        client.reset()
        ended.wait(5)
    status, size = lines.getvalue().split()
    assert status == "200"
    assert int(size) >= 1000


@pytest.mark.parametrize(
    "evil",
    ['"', "\\", '" 200 5 "-" "-', "\x85forged", "\xa0", "\x9b31m", "\xad"],
)
def test_nothing_a_client_sends_can_forge_a_line_or_an_item(evil):
    request = get("/", f"User-Agent: {evil}", f"Referer: {evil}", f"X-Forwarded-For: {evil}")
    line, _ = line_of('%(h)s "%(a)s" "%(f)s" "%({x-forwarded-for}i)s"', request, log_x_forwarded_for=True)
    assert line.isascii() or evil == "\xad"
    assert line.isprintable() or evil == "\xad"
    assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) == 6


@pytest.mark.parametrize(
    "user", [b'a" 200', b"a\nb", b"a\r\nb", "a\u2028b".encode(), "a\x85b".encode(), "\u202eabc".encode(), b"\xff", b""]
)
def test_a_user_name_can_forge_nothing_either(user):
    token = base64.b64encode(user + b":x").decode()
    line, _ = line_of('"%(u)s"', get("/", f"Authorization: Basic {token}"))
    assert line.isascii()
    assert line.isprintable()
    assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) == 2


@pytest.mark.parametrize("value", ["Basic", "Basic !!!", "Basic =", "Bearer abc", "basic " + "A" * 5])
def test_credentials_that_are_none_have_no_user(value):
    assert line_of("%(u)s", get("/", f"Authorization: {value}"))[0] == "-"


def test_x_forwarded_for_stands_before_the_address_when_asked_for():
    assert line_of("%(h)s", FULL, log_x_forwarded_for=True)[0] == "1.2.3.4,127.0.0.1"
    assert line_of("%(h)s", FULL)[0] == "127.0.0.1"


def test_an_app_that_has_emptied_its_environ_costs_nobody_the_connection():
    def emptying(environ, start_response):
        environ.clear()
        start_response("200 OK", [("Content-Length", "2")])
        return [b"hi"]

    lines = io.StringIO()
    with running(emptying, log=lines, log_format="%(h)s %(s)s", log_x_forwarded_for=True) as run:
        client = run.connect()
        assert [client.ask(get()).body for _ in range(2)] == [b"hi"] * 2
    assert lines.getvalue() == "- 200\n- 200\n"


@pytest.mark.parametrize("log_format", ["%(nothing)s", "%(h)", "%(h)q", "%s %(h)s", "%({x}z)s"])
def test_a_format_that_can_not_work_is_refused_at_once(log_format):
    with pytest.raises(ValueError, match="log_format"):
        AccessLog(io.StringIO(), log_format)


def test_a_log_that_fails_costs_no_client_its_answer(caplog):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    with running(app, log=Full()) as run:
        client = run.connect()
        assert [client.ask(get()).body for _ in range(2)] == [b"Hello"] * 2
    assert "No space left on device" in caplog.text


def test_a_logger_gets_the_lines_at_info(caplog):
    logger = logging.getLogger("tests.access")
    with caplog.at_level(logging.INFO, "tests.access"), serving(app, log=logger) as run:
        run.ask(get("/%25s%25(x)s"))
    (record,) = [record for record in caplog.records if record.name == "tests.access"]
    assert record.levelno == logging.INFO
    assert '"GET /%25s%25(x)s HTTP/1.1" 201 5' in record.getMessage()
