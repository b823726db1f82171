"""``greenserve top``: the state in a terminal, and what is said when there is none."""

from __future__ import annotations

import io
import socket
import sys
from typing import Any

import pytest
from rich.console import Console

import greenserve
from greenserve.admin import top
from greenserve.admin.app import AdminApp
from greenserve.admin.history import History
from greenserve.metrics.board import Board
from greenserve.testing import serve
from tests.wsgi.raw import running

STATE: dict[str, Any] = {
    "version": "1.2.3",
    "title": "shop:app",
    "points": [
        {
            "at": 1.0,
            "requests": 1234.0,
            "failed": 0.5,
            "p50": 0.0005,
            "p90": 0.012,
            "p99": 1.25,
            "running": 3.0,
            "connections": 17.0,
            "lag": 0.002,
            "cpu": 0.35,
            "rss": 3.5 * (1 << 20),
        }
    ],
    "workers": [
        {
            "pid": 4242,
            "state": "ready",
            "age": 3700.0,
            "rss": 2048.0,
            "lag": 0.2,
            "silent": 0.0,
            "requests": 1234.0,
            "cpu": 0.35,
            "running": 3,
            "connections": 17,
            "green_threads": 21,
        },
        {
            "pid": 4243,
            "state": "ready",
            "age": 5.0,
            "rss": 2048.0,
            "lag": 0.0,
            "silent": 7.0,
            "requests": 0.0,
            "cpu": 0.0,
            "running": 0,
            "connections": 0,
            "green_threads": 1,
        },
    ],
    "running": [
        {"method": "GET", "target": "/a[red]\x1b[2J", "seconds": 3.2, "stack": ["shop.views:42 in index"], "pid": 4242}
    ],
    "blocks": [{"at": 1.0, "text": "nothing else could run for 0.7 s", "pid": 4242}],
    "ended": {"died": 2},
}


def shown(state: dict[str, Any], width: int = 110) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(top.render(state, "127.0.0.1:8001", width))
    return file.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "greenserve 1.2.3  shop:app  127.0.0.1:8001",
        "1,234  (0.5 failed)",
        "500 µs  12 ms  1.2 s",
        "3 of 17 connections",
        "3.5 MiB",
        "1 h 1 min",
        "silent 7 s",
        "35.0 %",
        "shop.views:42 in index",
        "process 4242: nothing else could run for 0.7 s",
        "ended: died 2",
    ],
)
def test_everything_is_shown(text: str) -> None:
    assert text in shown(STATE)


@pytest.mark.parametrize(
    ("stack", "line"),
    [
        (["greenserve.green.time:36 in sleep", "shop.views:42 in index", "shop:1 in app"], "shop.views:42 in index"),
        (["greenserve.wsgi.protocol:9 in f", "greenserve.core.hub:1 in g"], "greenserve.wsgi.protocol:9 in f"),
    ],
)
def test_of_a_stack_that_line_is_shown_that_is_not_the_servers_own(stack: list[str], line: str) -> None:
    text = shown(STATE | {"running": [STATE["running"][0] | {"stack": stack}]})
    assert line in text
    assert sum(each in text for each in stack) == 1


def test_a_request_without_a_stack_is_shown() -> None:
    assert "GET /a[red]" in shown(STATE | {"running": [STATE["running"][0] | {"stack": []}]})


def test_a_target_is_neither_markup_nor_an_order_to_the_terminal() -> None:
    assert "GET /a[red]?[2J" in shown(STATE)
    assert "\x1b" not in shown(STATE)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(STATE, width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 105])
def test_a_busy_worker_has_one_line_in_which_nothing_is_cut_off(width: int) -> None:
    busy = STATE["workers"][0] | {
        "state": "stopping",
        "age": 47_100.0,
        "rss": 1023.9 * (1 << 20),
        "lag": 0.0085,
        "requests": 12_345.0,
        "cpu": 1.234,
        "running": 1200,
        "connections": 10_000,
        "green_threads": 10_021,
    }
    lines = shown(STATE | {"workers": [busy]}, width).splitlines()
    line = "4242 stopping 13 h 5 min 12,345 1200 10000 10021 123.4 % 1024 MiB 8.5 ms"
    assert line in [" ".join(line.split()) for line in lines]
    assert "…" not in "".join(lines)
    assert any("latency p50 p90 p99" in line for line in lines)


def test_a_server_that_has_just_started_can_be_shown() -> None:
    state = STATE | {"points": [], "workers": [], "running": [], "blocks": [], "ended": {}}
    assert "shop:app" in shown(state)


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([0, 0], "  "), ([0, 1, 2, 4, 8], " ▁▂▄█"), ([None, 1], " █"), (list(range(100)), "█" * 5)],
)
def test_a_sparkline_is_as_high_as_its_largest_value(values: list[float | None], line: str) -> None:
    assert top.sparkline(values, 5) == line


def page() -> AdminApp:
    history = History(Board(slots=1), dict, "shop:app")
    history.sample()
    return AdminApp(history, is_public=False)


@pytest.mark.parametrize("form", ["{}:{}", "http://{}:{}/"])
def test_the_state_is_fetched_over_tcp(form: str) -> None:
    with serve(page(), log_output=False) as address:
        assert greenserve.execute(top.fetch, form.format(*address))["title"] == "shop:app"


def test_the_state_is_fetched_over_a_unix_socket(tmp_path: Any) -> None:
    path = str(tmp_path / "admin.sock")
    with running(page(), greenserve.listen(path), log_output=False):
        assert greenserve.execute(top.fetch, f"unix:{path}")["title"] == "shop:app"


def test_where_nobody_listens_the_message_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(top.TopError, match=rf"no page at {address}: .*refused; start the server with --admin-bind"):
        top.fetch(address)


@pytest.mark.parametrize("address", ["fd://3", "127.0.0.1:port", "127.0.0.1:99999"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(top.TopError, match="is no address: give --admin-bind's"):
        top.fetch(address)


def test_another_server_than_ours_is_told() -> None:
    def other(environ: Any, start_response: Any) -> list[bytes]:
        start_response("404 Not Found", [])
        return [b"nothing here"]

    with (
        serve(other, log_output=False) as (host, port),
        pytest.raises(top.TopError, match="answered 404: nothing here"),
    ):
        greenserve.execute(top.fetch, f"{host}:{port}")


def test_it_tells_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert top.run(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: greenserve top [--once] [ADDRESS]")


@pytest.mark.parametrize("arguments", [["--twice"], ["127.0.0.1:1", "127.0.0.1:2"]])
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    with pytest.raises(top.TopError, match="usage: greenserve top"):
        top.run(arguments)


def test_for_a_pipe_it_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with serve(page(), log_output=False) as (host, port):
        assert greenserve.execute(top.run, [f"{host}:{port}"]) == 0
    assert "shop:app" in out.getvalue()
