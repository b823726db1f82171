"""The admin page in a browser, with a server under load behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.watching import ask
from tests.browser import Browser
from tests.cli.running import Command
from tests.docs.running import reserve_port

pytestmark = pytest.mark.system

APP = """
import greenserve, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        greenserve.sleep(60)
    if path == "/block":
        end = time.perf_counter() + 0.8
        while time.perf_counter() < end:
            pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


class Site:
    def __init__(self, command: Command, admin: int) -> None:
        self.command = command
        self.url = f"http://127.0.0.1:{admin}/"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "shop.py").write_text(APP)
    admin = reserve_port()
    args = ("shop:app", "--bind", "127.0.0.1:0", "--workers", "2", "--admin-bind", f"127.0.0.1:{admin}")
    command = Command(*args, cwd=tmp_path, stderr=tmp_path / "stderr")
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            command.get("/")

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield Site(command, admin)
    finally:
        stop.set()
        thread.join()
        command.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)], ids=str)
def test_the_page_shows_moving_figures_and_fits(site: Site, width: int, dark: bool) -> None:
    with Browser(width, 800, dark=dark) as browser:
        browser.open(site.url)
        browser.wait_until("events >= 2 && points[points.length - 1].requests > 0")
        first = browser.evaluate("find('requests-note').textContent")
        browser.wait_until(f"find('requests-note').textContent != {first!r}")
        assert browser.evaluate("find('live-text').textContent") == "Live"
        assert browser.evaluate("find('title').textContent") == "shop:app"
        assert browser.evaluate("document.querySelectorAll('#workers tr').length") == 2
        assert browser.evaluate("document.querySelectorAll('#chart-requests path').length") >= 4
        assert "NaN" not in browser.evaluate("document.body.innerHTML")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        # A unit stands behind its number, on one line.
        assert browser.evaluate("show('requests', number(27800)), find('requests').innerText") == "27.8k"
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(10, 17, 14)" if dark else "rgb(242, 246, 243)")
        assert browser.complaints == []


def test_a_slow_request_opens_to_its_stack_and_stays_open(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.command.ports[0])) as client, Browser() as browser:
        client.sendall(b"GET /slow?<b>a</b> HTTP/1.1\r\nHost: a\r\n\r\n")
        browser.open(site.url)
        row = "[...document.querySelectorAll('#slowest details')].find((each) => each.textContent.includes('/slow'))"
        browser.wait_until(row)
        browser.evaluate(f"{row}.open = true")
        browser.evaluate("seen = events")
        browser.wait_until("events > seen")
        assert browser.evaluate(f"{row}.open")
        text = browser.evaluate(f"{row}.textContent")
        assert "/slow?<b>a</b>" in text  # as text, and not as markup
        assert "shop:7 in app" in text
        assert browser.complaints == []


def test_a_hub_that_was_blocked_is_told_of(site: Site) -> None:
    site.command.get("/block")
    with Browser() as browser:
        browser.open(site.url)
        browser.wait_until("document.querySelectorAll('#blocks li').length > 0")
        assert "nothing else could run for 0." in browser.evaluate("find('blocks').textContent")
        assert browser.complaints == []


def test_without_the_server_the_page_says_that_it_waits(tmp_path: Path) -> None:
    admin = reserve_port()
    args = ("--bind", "127.0.0.1:0", "--admin-bind", f"127.0.0.1:{admin}")
    command = Command(*args, cwd=tmp_path, stderr=tmp_path / "stderr")
    try:
        with Browser() as browser:
            browser.open(f"http://127.0.0.1:{admin}/")
            browser.wait_until("events >= 1")
            assert ask(admin, "/state.json")[0] == 200
            command.close()
            browser.wait_until("find('live-text').textContent == 'Waiting for the server'")
    finally:
        command.close()
