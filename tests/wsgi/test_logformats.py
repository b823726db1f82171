"""Access lines as JSON and for a terminal: what stands in them, and that no request can break or forge one."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.wsgi.accesslog import Record
from greenserve.wsgi.logformats import format_for_terminal, format_json
from tests.wsgi.raw import get, running

LATIN = st.text(st.characters(max_codepoint=255), max_size=50)


def app(environ, start_response):
    environ["greenserve.request_id"] = "id-1"
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [b"Hello"]


def test_a_request_that_was_refused_is_an_object_with_what_is_known_and_a_short_line_too():
    lines = io.StringIO()
    with running(app, log=lines, log_format=format_json) as run:
        run.ask(b"GET /pa%20th?a=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        run.ask(b"\x00 \x1b[2J\r\n\r\n")
    first, second = map(json.loads, lines.getvalue().splitlines())
    known = {"http.request.method", "url.path", "url.query", "http.response.status_code", "network.protocol.version"}
    assert [first[name] for name in sorted(known)] == ["GET", 400, "1.1", "/pa%20th", "a=1"]
    assert known & set(second) == {"http.response.status_code", "url.path"}
    assert second["url.path"] == "\x00 \x1b[2J"
    short = io.StringIO()
    with running(app, log=short, log_format=format_for_terminal(False)) as run:
        run.ask(b"\x00 \x1b[2J\r\n\r\n")
    assert re.fullmatch(r"\d\d:\d\d:\d\d 400 .* - \\x00 \\x1b\[2J 127\.0\.0\.1\n", short.getvalue())


def line_of(log_format, request):
    lines = io.StringIO()
    with running(app, log=lines, log_format=log_format) as run:
        run.ask(request)
        port = run.clients[0].sock.getsockname()[1]
    (line,) = lines.getvalue().splitlines()
    return line, port


def test_a_json_line_has_opentelemetrys_names():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    line, port = line_of(
        format_json,
        get("/pa%20th?a=1", "User-Agent: me", "Referer: there", f"traceparent: {trace}"),
    )
    entry = json.loads(line)
    assert datetime.fromisoformat(entry.pop("timestamp").removesuffix("Z")).year >= 2024
    assert 0 <= entry.pop("http.server.request.duration") < 10
    assert entry == {
        "client.address": "127.0.0.1",
        "client.port": port,
        "http.request.header.referer": "there",
        "http.request.id": "id-1",
        "http.request.method": "GET",
        "http.response.body.size": 5,
        "http.response.status_code": 201,
        "network.protocol.version": "1.1",
        "server.address": "test",
        "span_id": "b7ad6b7169203331",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "url.path": "/pa%20th",
        "url.query": "a=1",
        "url.scheme": "http",
        "user_agent.original": "me",
    }


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("shop.example", "shop.example", None),
        ("shop.example:8080", "shop.example", 8080),
        ("[::1]", "[::1]", None),
        ("[::1]:80", "[::1]", 80),
        ("a:b", "a:b", None),
        (":80", ":80", None),
        ("", None, None),
    ],
)
def test_a_hosts_name_and_port_are_apart_in_json(host, address, port):
    entry = json.loads(format_json(Record("::1", {"HTTP_HOST": host, "REMOTE_PORT": "x"}, "", b"", 0, 0.0)))
    assert (entry.get("server.address"), entry.get("server.port"), entry.get("client.port")) == (address, port, None)


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    ],
)
def test_a_trace_that_is_none_is_left_out(trace):
    entry = json.loads(format_json(Record("::1", {"HTTP_TRACEPARENT": trace}, "", b"", 0, 0.0)))
    assert "trace_id" not in entry
    assert "span_id" not in entry


@given(client=LATIN, values=st.lists(LATIN, min_size=6, max_size=6))
def test_a_json_line_is_one_line_of_ascii_whatever_a_client_sends(client, values):
    names = ("REQUEST_METHOD", "RAW_PATH_INFO", "QUERY_STRING", "HTTP_USER_AGENT", "HTTP_HOST", "SERVER_PROTOCOL")
    line = format_json(Record(client, dict(zip(names, values)), "200", b"", 1, 0.1))
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    assert entry["client.address"] == client
    assert entry.get("user_agent.original", "") == values[3]


def test_what_an_app_leaves_in_environ_breaks_no_line():
    entry = json.loads(format_json(Record("::1", {"REQUEST_METHOD": b"GET", "SERVER_PROTOCOL": None}, "", b"", 0, 0.0)))
    assert entry["http.request.method"] == "b'GET'"


def test_a_terminal_gets_time_status_duration_and_request():
    line, _ = line_of(format_for_terminal(colours=False), get("/page?a=1"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d 201 +\d+(\.\d)? ms GET /page\?a=1 127\.0\.0\.1", line)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00012, " 0.1 ms"), (0.0099, " 9.9 ms"), (0.25, " 250 ms"), (3.21, "  3.2 s")]
)
def test_a_duration_has_the_unit_that_reads_best(seconds, text):
    line = format_for_terminal(colours=False)(Record("::1", {}, "200", b"", 0, seconds))
    assert line.endswith(f" 200 {text} - - ::1")


@pytest.mark.parametrize(("status", "colour"), [("200", 32), ("304", 36), ("404", 33), ("500", 31), ("101", 36)])
def test_colours_show_the_status_and_change_no_text(status, colour):
    record = Record("::1", {"REQUEST_METHOD": "GET", "RAW_URI": "/"}, status, b"", 0, 0.5)
    line = format_for_terminal(colours=True)(record)
    assert f"\x1b[{colour}m{status}\x1b[0m" in line
    plain = re.sub(r"\x1b\[\d*m", "", line)
    assert plain[8:] == format_for_terminal(colours=False)(record)[8:]


@given(client=LATIN, method=LATIN, target=LATIN)
def test_nothing_of_a_request_reaches_the_terminal_as_a_control_character(client, method, target):
    record = Record(client, {"REQUEST_METHOD": method, "RAW_URI": target}, "", b"", 0, 0.0)
    line = format_for_terminal(colours=False)(record)
    assert re.search(r"[\x00-\x1f\x7f-\xa0]", line) is None
