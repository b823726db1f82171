"""The built-in demo as a WSGI application. Its pages in a browser are in test_demo_page.py."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from itertools import islice
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from greenserve import demo

ATTACK = "<script>alert('\"&')</script>"


class Answer:
    """What the application answered."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: dict[str, str] = {}
        self.body: Iterable[bytes] = []

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        self.status = status
        self.headers = dict(headers)

    @property
    def text(self) -> str:
        return b"".join(self.body).decode()


def make_environ(path: str = "/", fields: Iterable[tuple[str, str]] = (), **more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "4711", "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    fields = (("Host", "127.0.0.1"), *fields)
    environ.update(PATH_INFO=path, RAW_URI=path, SCRIPT_NAME="", headers_raw=fields)
    for name, value in fields:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if name != "Host" and key in environ else value
    environ.update(more)
    return environ


def get(*args: Any, **more: Any) -> Answer:
    answer = Answer()
    answer.body = demo.app(make_environ(*args, **more), answer.start)
    return answer


def get_page(*fields: tuple[str, str], path: str = "/", **more: Any) -> Answer:
    return get(path, (("Accept", "text/html,*/*;q=0.8"), *fields), **more)


@pytest.mark.parametrize("path", ["/", "/headers", "/health", "/any/where", "/favicon.ico"])
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_it_keeps_to_pep_3333(path: str, accept: str) -> None:
    answer = Answer()
    environ = make_environ(path, (("Accept", accept),))
    del environ["headers_raw"]  # to the validator every name without a dot is CGI's, and text
    body = validator(demo.app)(environ, answer.start)
    try:
        assert len(b"".join(body)) == int(answer.headers["Content-Length"])
    finally:
        body.close()  # type: ignore[attr-defined]  # wsgiref.validate's iterator has it


def test_the_page_shows_the_request_line_and_where_it_came_from() -> None:
    page = get_page(path="/shop/1", REQUEST_METHOD="PUT").text
    assert "<b>PUT</b> <span>/shop/1</span> <i>HTTP/1.0</i>" in page
    assert "127.0.0.1:4711" in page


def test_the_page_shows_each_field_as_received_with_its_key_in_environ() -> None:
    page = get_page(("X-MiXed-Case", "some value"), ("Content-Type", "text/x"), CONTENT_TYPE="text/x").text
    assert '<th scope="row">X-MiXed-Case</th><td>some value</td><td>HTTP_<wbr>X_<wbr>MIXED_<wbr>CASE</td>' in page
    assert '<th scope="row">Content-Type</th><td>text/x</td><td>CONTENT_<wbr>TYPE</td>' in page


def test_repeated_fields_show_what_they_were_joined_to() -> None:
    page = get_page(("X-A", "1"), ("X-A", "2")).text
    assert page.count("<small>joined: 1,2</small>") == 2


def test_a_field_that_the_server_dropped_is_said_to_be_not_in_environ() -> None:
    environ = make_environ("/", (("Accept", "text/html"), ("X_Y", "1")))
    del environ["HTTP_X_Y"]
    answer = Answer()
    answer.body = demo.app(environ, answer.start)
    assert "<td>HTTP_<wbr>X_<wbr>Y<small>not in environ</small></td>" in answer.text


@pytest.mark.parametrize(
    "page",
    [
        get_page(("X-Attack", ATTACK)).text,
        get_page((ATTACK, "1")).text,
        get_page(path=f"/{ATTACK}").text,
        get_page(REQUEST_METHOD=ATTACK).text,
        get_page(SERVER_PROTOCOL=ATTACK).text,
        get_page(HTTP_HOST=ATTACK).text,
    ],
    ids=["value", "name", "target", "method", "protocol", "host"],
)
def test_nothing_of_a_request_becomes_markup(page: str) -> None:
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page
    assert page.count("<script") == 1


def test_a_dollar_in_a_request_is_text_to_the_template() -> None:
    assert "<td>$style ${x} $$</td>" in get_page(("X-Dollar", "$style ${x} $$")).text


def test_obsolete_bytes_are_shown_as_latin_1() -> None:
    assert "<td>caf\xe9</td>" in get_page(("X-Obs", "caf\xe9")).text


def test_the_policy_allows_the_pages_own_blocks_by_their_hashes_and_nothing_else() -> None:
    answer = get_page()
    policy = answer.headers["Content-Security-Policy"]
    for tag in ("style", "script"):
        (block,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = get_page().text
    page = page.replace("http://www.w3.org/2000/svg", "")  # a name, not a place
    page = page.replace("http://127.0.0.1/any/path", "")  # the curl line
    assert re.findall(r"https?://", page) == []
    assert re.findall(r"(?:src|href)=[\"'](?!data:|/)", page) == []
    assert re.findall(r" style=| on[a-z]+=", page) == []  # the policy would stop them


def test_the_page_lists_the_frames_that_the_response_stands_on() -> None:
    page = get_page().text
    frames = page[page.index('<ol class="frames">') :]
    assert "app <span>greenserve.demo, line" in frames[:80]
    assert f"<span>{__name__}, line" in frames


def test_who_does_not_ask_for_html_gets_text() -> None:
    answer = get("/x", (("Accept", "*/*"), ("X-Attack", ATTACK)))
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert f"X-Attack: {ATTACK}" in answer.text
    assert "GreenSocket.recv_into()" in answer.text


def test_headers_gives_the_request_as_json() -> None:
    answer = get("/headers", (("X-A", "1"), ("X-A", "2")))
    told = json.loads(answer.text)
    assert answer.headers["Content-Type"] == "application/json"
    assert (told["method"], told["target"], told["peer"]) == ("GET", "/headers", "127.0.0.1:4711")
    assert told["fields"] == [
        {"name": "Host", "value": "127.0.0.1", "environ": "HTTP_HOST"},
        {"name": "X-A", "value": "1", "environ": "HTTP_X_A"},
        {"name": "X-A", "value": "2", "environ": "HTTP_X_A"},
    ]


@pytest.mark.parametrize(
    ("more", "target"),
    [
        ({"PATH_INFO": "/a b", "QUERY_STRING": "c=d"}, "/a%20b?c=d"),
        ({"PATH_INFO": "/b", "SCRIPT_NAME": "/a"}, "/a/b"),
        ({"PATH_INFO": "/\xc3\xa9"}, "/%C3%A9"),
    ],
)
def test_a_server_that_does_not_keep_the_target_gets_it_put_together(more: dict[str, str], target: str) -> None:
    environ = make_environ(**more)
    del environ["RAW_URI"]
    assert demo.Request(environ).target == target


@pytest.mark.parametrize(
    ("more", "peer"),
    [
        ({"REMOTE_ADDR": "::1", "REMOTE_PORT": "5"}, "[::1]:5"),
        ({"REMOTE_ADDR": "", "REMOTE_PORT": ""}, "a Unix socket"),
        ({"REMOTE_ADDR": "10.0.0.1", "REMOTE_PORT": ""}, "10.0.0.1"),
    ],
)
def test_the_peer_is_shown_as_addresses_are_written(more: dict[str, str], peer: str) -> None:
    assert demo.Request(make_environ(**more)).peer == peer


def test_health_is_ok() -> None:
    answer = get("/health")
    assert (answer.status, json.loads(answer.text)) == ("200 OK", {"status": "ok"})


def test_there_is_no_favicon_beside_the_one_in_the_page() -> None:
    assert get("/favicon.ico").status == "404 Not Found"


@pytest.mark.parametrize("path", ["/", "/headers", "/clock", "/health", "/favicon.ico"])
def test_nothing_is_stored_or_sniffed(path: str) -> None:
    headers = get(path, REQUEST_METHOD="HEAD").headers
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def test_the_clock_is_an_event_stream_whose_events_say_when_and_how_late() -> None:
    answer = get("/clock")
    events = list(islice(answer.body, 4))
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert events[0] == b"retry: 100\n\n"
    ticks = [json.loads(event.decode().removeprefix("data: ")) for event in events[1:]]
    assert all(event.endswith(b"\n\n") for event in events)
    assert len({tick["now"] for tick in ticks}) == 3
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", tick["now"]) for tick in ticks)
    assert all(tick["late"] >= 0 for tick in ticks)


def test_a_clock_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(demo, "STREAM_SECONDS", 0.005)
    assert len(list(get("/clock").body)) == 1 + 5


def test_a_head_of_the_clock_does_not_run_it() -> None:
    assert list(get("/clock", REQUEST_METHOD="HEAD").body) == []
