"""What the page's listener answers, to whom, and that it takes no orders."""

from __future__ import annotations

import json

import pytest

from greenserve.admin.app import AdminApp, is_local
from greenserve.admin.history import History
from greenserve.metrics.board import Board
from tests.wsgi.raw import running


def history():
    made = History(Board(slots=1), dict, "shop:app")
    made.sample()
    return made


def ask(path, host="127.0.0.1:8001", method="GET", *, is_public=False):
    with running(AdminApp(history(), is_public), log_output=False) as run:
        return run.ask(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), method)


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [
        ("/", "text/html; charset=utf-8", b'<script src="page.js"'),
        ("/page.css", "text/css; charset=utf-8", b"prefers-color-scheme: dark"),
        ("/page.js", "text/javascript; charset=utf-8", b"new EventSource"),
    ],
)
def test_the_page_is_three_files_that_bring_nothing_from_elsewhere(path, content_type, part):
    answer = ask(path)
    assert answer.code == 200
    assert answer.fields["content-type"] == content_type
    assert part in answer.body
    assert answer.fields["content-security-policy"].startswith("default-src 'none'")
    outside = [word for word in answer.body.split(b"\"'() ") if word.startswith((b"http:", b"https:", b"//"))]
    assert outside == []


def test_the_state_is_json():
    answer = ask("/state.json")
    assert answer.fields["content-type"] == "application/json"
    assert json.loads(answer.body)["title"] == "shop:app"


def test_events_come_one_after_the_other_and_only_the_first_has_all_points():
    made = history()
    made.sample()
    with running(AdminApp(made, False, interval=0.01), log_output=False) as run:
        client = run.connect()
        client.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _, fields = client.read_head()
        assert (b"Content-Type", b"text/event-stream") in fields
        events = [json.loads(client.read_chunk().removeprefix(b"data: ")) for _ in range(3)]
    assert [len(event["points"]) for event in events] == [2, 1, 1]


def test_a_stop_does_not_wait_for_who_looks():
    with running(AdminApp(history(), False, interval=30.0), log_output=False) as run:
        client = run.connect()
        client.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.read_head()
        client.read_chunk()
        run.server.stop(30)
        assert client.is_closed()


@pytest.mark.parametrize(("path", "code"), [("/other", 404), ("/..%2fapp.py", 404), ("/page.html", 404)])
def test_there_is_nothing_else(path, code):
    assert ask(path).code == code


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_it_takes_no_orders(method):
    assert ask("/", method=method).code == 405


@pytest.mark.parametrize("path", ["/", "/state.json", "/events"])
def test_head_is_answered_without_a_body(path):
    answer = ask(path, method="HEAD")
    assert (answer.code, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8001", True),
        ("127.0.0.1", True),
        ("[::1]:8001", True),
        ("[::1]", True),
        ("localhost:8001", True),
        ("LOCALHOST", True),
        ("box.localhost:1", True),
        ("10.0.0.1:80", True),
        ("", True),
        ("evil.example", False),
        ("evil.example:8001", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_a_name_that_a_stranger_could_have_led_here_is_refused(host, expected):
    assert is_local(host) is expected
    assert ask("/state.json", host=host).code == (200 if expected else 403)


def test_a_public_page_takes_any_name():
    assert ask("/state.json", host="status.example", is_public=True).code == 200
