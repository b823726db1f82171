"""Flask-SocketIO under eventlet's name, with threads that are patched, by gunicorn too, and with our own driver."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve import websocket
from tests.browser import PATH, Browser
from tests.contrib.chats import chatting, client_script, visiting
from tests.contrib.programs import LIFETIME

pytestmark = pytest.mark.system

__all__ = ["client_script"]  # a fixture

BIG = 8 * 1024 * 1024

# How clients connect, in the words of either client.
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}


@pytest.fixture(params=["eventlet's name", "patched", "gunicorn", "native"])
def url(request: pytest.FixtureRequest, tmp_path: Path, client_script: Path) -> Iterator[str]:
    with chatting(request.param, tmp_path / "app", CHAT_CLIENT=str(client_script)) as found:
        yield found


def test_rooms_fields_and_large_messages_with_the_python_client(url: str) -> None:
    for name, transports in TRANSPORTS.items():
        with visiting(url, transports, **{"X-Mine": "1, 2"}) as ann, visiting(url, transports) as bob:
            assert ann.tell("field", "X-Mine") == "1, 2"
            ann.tell("join", {"name": "Ann", "room": f"kitchen {name}"})
            assert ann.hear() == ("Ann", "has come in")
            bob.tell("join", {"name": "Bob", "room": "attic"})
            assert bob.hear() == ("Bob", "has come in")
            bob.tell("join", {"name": "Bob", "room": f"kitchen {name}"})
            assert (ann.hear(), bob.hear()) == (("Bob", "has come in"), ("Bob", "has come in"))
            bob.tell("say", "hello")
            assert (ann.hear(), bob.hear()) == (("Bob", "hello"), ("Bob", "hello"))
            if transports is None:
                bob.tell("big", BIG)
                assert len(bob.hear()) == BIG
            assert ann.client.transport() == ("polling" if name == "polling" else "websocket")


def test_a_large_message_reaches_a_slow_reader_whole_over_a_websocket(url: str) -> None:
    with websocket.connect(f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket") as ws:
        ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        assert str(ws.receive(LIFETIME)).startswith("0{")
        ws.send("40")
        assert str(ws.receive(LIFETIME)).startswith("40{")
        ws.send(f'42["big",{BIG}]')
        # The server can't get rid of it while nothing is read here, and goes on serving others.
        with visiting(url, ["websocket"]) as other:
            assert other.tell("field", "Host") == url.removeprefix("http://")
        kind, data = json.loads(str(ws.receive(LIFETIME)).removeprefix("42"))
    assert (kind, data == "x" * BIG) == ("big", True)


def test_a_large_message_reaches_a_slow_reader_whole_by_polling(url: str) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=LIFETIME)
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    path = "/socket.io/?EIO=4&transport=polling"

    def ask(method: str, body: str | None = None) -> str:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text

    try:
        opened = ask("GET")
        path += f"&sid={json.loads(opened[1:])['sid']}"
        ask("POST", "40")
        assert ask("GET").startswith("40{")
        ask("POST", f'42["big",{BIG}]')
        connection.request("GET", path)
        with visiting(url, ["polling"]) as other:
            assert other.tell("field", "Host") == url.removeprefix("http://")
        response = connection.getresponse()
        pieces = []
        while piece := response.read(65536):
            pieces.append(piece)
        kind, data = json.loads(b"".join(pieces).removeprefix(b"42"))
        assert (kind, data == "x" * BIG) == ("big", True)
    finally:
        connection.close()


@pytest.mark.skipif(PATH is None and os.environ.get("CI") != "true", reason="needs chromium")
def test_two_pages_of_a_browser_talk_to_each_other(url: str, tmp_path: Path) -> None:
    with Browser(width=640, height=480) as ann, Browser(width=640, height=480) as bob:
        for transports in ("polling", "websocket", "polling,websocket"):
            for page, name in ((ann, "Ann"), (bob, "Bob")):
                page.open(f"{url}/?name={name}&room=kitchen&transports={transports}")
                page.wait_until("said().length")
            ann.wait_until("said().length == 2")
            last = transports.split(",")[-1]
            ann.wait_until(f"socket.io.engine.transport.name == '{last}'")
            bob.wait_until(f"socket.io.engine.transport.name == '{last}'")
            for page, text in ((ann, "Is there any tea left?"), (bob, "A whole pot.")):
                page.evaluate(f"find('text').value = '{text}', find('form').requestSubmit()")
                for each in (ann, bob):
                    each.wait_until(f"said().some((line) => line.endsWith('{text}'))")
            assert ann.evaluate("said().slice(-2)") == ["AnnIs there any tea left?", "BobA whole pot."]
            assert bob.evaluate("find('state').textContent") == last
            bob.evaluate("join('attic')")
            ann.wait_until("said().at(-1) == 'Bobhas left'")
            assert ann.evaluate("ask('User-Agent')") == ann.evaluate("navigator.userAgent")
        ann.screenshot(str(tmp_path / "ann.png"))
        assert ann.complaints == bob.complaints == []
