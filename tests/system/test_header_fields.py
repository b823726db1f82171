"""What a client sends in its header fields, Flask shows in ``request.headers``: all of it, and nothing else."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import requests
from flask import Flask, Response, request
from hypothesis import given
from hypothesis import strategies as st

import greenserve
from tests import browser
from tests.system.relay import Relay, Request, relaying, split_requests
from tests.wsgi.raw import Running, running

# Names that a list of values may not be joined for by a comma (RFC 9110 section 5.3, RFC 6265 section 5.4).
SEPARATORS = {"cookie": "; "}


class Shown:
    """A Flask application that keeps what its views see.

    Attributes:
        headers: ``request.headers`` of each request by its target, with names in lower case.
        cookies: ``request.cookies``, likewise.
    """

    def __init__(self) -> None:
        self.headers: dict[str, dict[str, str]] = {}
        self.cookies: dict[str, dict[str, str]] = {}
        self.app = Flask(__name__)
        methods = ["GET", "POST", "PUT"]
        self.app.add_url_rule("/", view_func=self.view, methods=methods, defaults={"path": ""})
        self.app.add_url_rule("/<path:path>", view_func=self.view, methods=methods)

    def view(self, path: str) -> Response:
        target = request.environ["RAW_URI"]
        self.headers[target] = {name.lower(): value for name, value in request.headers.items()}
        self.cookies[target] = dict(request.cookies)
        request.get_data()
        answer = Response("<!doctype html><title>seen</title>", mimetype="text/html")
        answer.set_cookie("first", "1")
        answer.set_cookie("second", "two words")
        return answer


def joined(sent: Request) -> dict[str, str]:
    """Return the fields of a request as an application is to see them."""
    values: dict[str, list[str]] = {}
    for name, value in sent.fields:
        values.setdefault(name.lower(), []).append(value)
    return {name: SEPARATORS.get(name, ", ").join(parts) for name, parts in values.items()}


@contextmanager
def relayed(app: Any) -> Iterator[Relay]:
    with running(app) as run, relaying(run.address) as relay:
        yield relay


def check_client(ask: Callable[[str], Any]) -> tuple[Shown, list[Request]]:
    """Let a client that blocks ask at an address, and hold what Flask shows against what was on the wire."""
    shown = Shown()
    with relayed(shown.app) as relay:
        greenserve.execute(ask, "http://{}:{}/".format(*relay.address))
        sent = relay.requests()
    assert sent
    assert {request.target: joined(request) for request in sent} == shown.headers
    return shown, sent


# By the letter -----------------------------------------------------------------------------------------------------


def show(run: Running, shown: Shown, *lines: bytes) -> dict[str, str]:
    """Send fields as they are, and return what the view sees beside Host."""
    answer = run.connect().ask(b"\r\n".join([b"GET / HTTP/1.1", b"Host: test", *lines, b"", b""]))
    assert answer.code == 200
    seen = shown.headers["/"]
    assert seen.pop("host") == "test"
    return seen


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], {}),
        ([b"X-One: 1"], {"x-one": "1"}),
        ([b"x-ONE: 1"], {"x-one": "1"}),
        ([b"X-One:1"], {"x-one": "1"}),
        ([b"X-One: \t 1 2\t3 \t "], {"x-one": "1 2\t3"}),
        ([b"X-One:"], {"x-one": ""}),
        ([b"X-One: 1", b"X-One: 2"], {"x-one": "1, 2"}),
        ([b"X-One: 1", b"X-Other: 3", b"x-one: 2"], {"x-one": "1, 2", "x-other": "3"}),
        ([b"X-One: 1, 2", b"X-One:", b"X-One: 3"], {"x-one": "1, 2, , 3"}),
        ([b"Accept: text/html", b"Accept: */*;q=0.1"], {"accept": "text/html, */*;q=0.1"}),
        ([b"Cookie: a=1", b"Cookie: b=2; c=3"], {"cookie": "a=1; b=2; c=3"}),
        # Nobody is believed here about whom it forwards.
        ([b"X-Forwarded-For: 192.0.2.1", b"Forwarded: for=192.0.2.2", b"Via: 1.1 proxy"], {"via": "1.1 proxy"}),
        ([b"X-Name: J\xfcrgen"], {"x-name": "Jürgen"}),
        ([b"X-Name: " + "Jürgen".encode()], {"x-name": "JÃ¼rgen"}),
        ([b"X-All: " + bytes(range(0x80, 0x100))], {"x-all": bytes(range(0x80, 0x100)).decode("latin-1")}),
        ([b"X_One: 1"], {}),
        ([b"X_One: 1", b"X-One: 2"], {"x-one": "2"}),
        ([b"Content-Type: text/plain"], {"content-type": "text/plain"}),
        ([b"Content-Length: 0"], {"content-length": "0"}),
        ([b"Connection: keep-alive", b"Upgrade: h2c"], {"connection": "keep-alive", "upgrade": "h2c"}),
    ],
)
def test_fields_are_shown_as_they_were_sent(lines: list[bytes], expected: dict[str, str]) -> None:
    shown = Shown()
    with running(shown.app) as run:
        assert show(run, shown, *lines) == expected


def test_repeated_cookies_are_all_there() -> None:
    shown = Shown()
    with running(shown.app) as run:
        show(run, shown, b"Cookie: a=1", b"Cookie: b=2; c=3")
    assert shown.cookies["/"] == {"a": "1", "b": "2", "c": "3"}


NAMES = st.sampled_from(["X-One", "x-one", "X-Two", "Accept", "COOKIE", "User-Agent", "Via", "Sec-CH-UA", "DNT"])
# RFC 9110 section 5.5: VCHAR, obs-text, SP and HTAB.
VALUES = st.text(st.sampled_from([chr(byte) for byte in range(256) if byte not in {*range(9), *range(10, 32), 127}]))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=20))
def test_any_fields_are_shown_joined(fields: list[tuple[str, str]]) -> None:
    shown = Shown()
    lines = [f"{name}: {value}".encode("latin-1") for name, value in fields]
    with running(shown.app) as run:
        seen = show(run, shown, *lines)
    expected = Request("/", [(name, value.strip(" \t")) for name, value in fields])
    assert seen == joined(expected)


def test_the_relay_takes_requests_apart() -> None:
    data = (
        b"PUT /a HTTP/1.1\r\nContent-Length: 3\r\nX: \xfc \r\n\r\nabc"
        b"PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        b"GET /c?d HTTP/1.1\r\n\r\n"
    )
    assert list(split_requests(data)) == [
        ("/a", [("Content-Length", "3"), ("X", "ü")]),
        ("/b", [("Transfer-Encoding", "chunked")]),
        ("/c?d", []),
    ]


# By clients --------------------------------------------------------------------------------------------------------


def ask_by_requests(url: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(f"{url}one", headers={"X-Name": "Jürgen".encode("latin-1")}).status_code == 200
        # The cookies of the first answer go with the second request, and with one of its own.
        session.post(f"{url}two?x=%20", json={"a": 1}, auth=("me", "secret"), cookies={"third": "3"})
        session.put(f"{url}three", data=iter([b"a", b"b"]))


def ask_by_httpx(url: str) -> None:
    with httpx.Client(trust_env=False) as client:
        client.get(f"{url}one", headers=[("X-One", "1"), ("Cookie", "a=1"), ("X-One", "2"), ("Cookie", "b=2")])
        client.post(f"{url}two", files={"file": ("name.txt", b"content")})


def ask_by_urllib(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(f"{url}one", data=b"a=1", headers={"X-Name": "Jürgen"}), timeout=10).close()


def ask_by_http_client(url: str) -> None:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    connection.putrequest("GET", "/one")
    for value in ("1", "2"):
        connection.putheader("X-One", value)
    connection.endheaders()
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("ask", [ask_by_requests, ask_by_httpx, ask_by_urllib, ask_by_http_client])
def test_every_field_that_a_library_sends_is_shown(ask: Callable[[str], None]) -> None:
    shown, sent = check_client(ask)
    assert shown.headers["/one"]["host"]
    assert all(len(request.fields) >= 3 for request in sent)


def test_what_requests_sends_is_shown_by_its_meaning() -> None:
    shown, _ = check_client(ask_by_requests)
    assert shown.headers["/one"]["x-name"] == "Jürgen"
    assert shown.cookies["/two?x=%20"] == {"first": "1", "second": "two words", "third": "3"}
    assert shown.headers["/two?x=%20"]["authorization"] == "Basic bWU6c2VjcmV0"
    assert shown.headers["/three"]["transfer-encoding"] == "chunked"


@pytest.mark.system
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_field_that_curl_sends_is_shown() -> None:
    def ask(url: str) -> None:
        # The last one's name has the byte 0xfc in it, which Python's arguments spell so.
        fields = ["X-One: 1", "X-One: 2", "X-Empty;", "Cookie: a=1", "Cookie: b=2", "X-Name: J\udcfcrgen"]
        curl = "curl -sS --noproxy * --compressed --max-time 20 -o /dev/null".split()
        subprocess.run([*curl, *(option for field in fields for option in ("-H", field)), f"{url}one"], check=True)
        subprocess.run([*curl, "-u", "me:secret", "-d", "a=1", f"{url}two"], check=True)

    shown, _ = check_client(ask)
    seen = shown.headers["/one"]
    assert (seen["x-one"], seen["x-empty"], seen["cookie"], seen["x-name"]) == ("1, 2", "", "a=1; b=2", "Jürgen")
    assert shown.headers["/two"]["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.system
@pytest.mark.skipif(browser.PATH is None, reason="no Chromium is installed")
def test_every_field_that_chromium_sends_is_shown() -> None:
    def ask(url: str) -> None:
        with browser.Browser() as chromium:
            chromium.open(f"{url}one")
            fetch = "fetch('/two', {method: 'POST', body: 'a', headers: [['X-One', '1'], ['X-One', 'J\\xfcrgen']]})"
            assert chromium.evaluate(f"{fetch}.then(answer => answer.status)") == 200

    shown, sent = check_client(ask)
    assert {"/one", "/two"} <= {request.target for request in sent}
    assert shown.headers["/one"]["sec-fetch-mode"] == "navigate"
    assert shown.headers["/two"]["x-one"] == "1, Jürgen"
    assert shown.cookies["/two"] == {"first": "1", "second": "two words"}
    assert len(shown.headers["/one"]) >= 10
