"""The demo's page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.cli.running import ROOT, Command

pytestmark = pytest.mark.system


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[str]:
    """Serve the demo and return its address."""
    command = Command("--bind", "127.0.0.1:0", cwd=ROOT, stderr=tmp_path / "stderr")
    try:
        yield f"http://127.0.0.1:{command.ports[0]}/"
    finally:
        command.close()


def test_the_clock_moves_past_the_end_of_a_stream_and_nothing_is_complained_of(demo: str) -> None:
    with Browser() as browser:
        browser.open(demo)
        # A stream has 40 ticks: the browser has to come again for these.
        browser.wait_until("ticks >= 45")
        first = browser.evaluate("find('time').textContent")
        browser.wait_until(f"find('time').textContent > '{first}'")
        assert browser.evaluate("find('state').textContent") == "Live"
        assert browser.evaluate("document.querySelectorAll('#lateness rect[height=\"0\"]').length") <= 60 - 45
        assert browser.complaints == []


def test_a_request_sent_from_the_page_shows_its_fields(demo: str) -> None:
    with Browser() as browser:
        browser.open(demo)
        browser.evaluate("find('send').field.value = 'X-Mine', find('send').value.value = '<b>\"me\"</b>'")
        browser.evaluate("find('send').requestSubmit()")
        browser.wait_until("find('answer').textContent")
        lines = browser.evaluate("find('answer').textContent").splitlines()
        assert lines[0] == "GET /headers HTTP/1.1"
        assert 'X-Mine: <b>"me"</b>' in lines
        assert browser.complaints == []


def test_the_page_lists_every_field_that_the_browser_sends(demo: str) -> None:
    with Browser() as browser:
        browser.open(demo)
        names = browser.evaluate("[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)")
        assert {"Host", "User-Agent", "Accept", "Accept-Encoding", "Sec-Fetch-Mode"} <= set(names)
        frames = browser.evaluate("[...document.querySelectorAll('.frames li')].map((row) => row.textContent)")
        assert any("handle_one_request" in frame for frame in frames)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_wider_than_the_window(demo: str, width: int, dark: bool) -> None:
    with Browser(width, 800, dark=dark) as browser:
        browser.open(f"{demo}a/path/that/is/{'long/' * 40}")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(10, 17, 14)" if dark else "rgb(242, 246, 243)")


def test_without_the_server_the_page_says_that_it_waits(tmp_path: Path) -> None:
    command = Command("--bind", "127.0.0.1:0", cwd=ROOT, stderr=tmp_path / "stderr")
    try:
        with Browser() as browser:
            browser.open(f"http://127.0.0.1:{command.ports[0]}/")
            browser.wait_until("ticks >= 1")
            command.close()
            browser.wait_until("find('state').textContent == 'Waiting for the server'")
    finally:
        command.close()
