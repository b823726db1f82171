"""Socket.IO with long-polling on several workers: every request of a client is a connection of its own."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest

from tests.supervisor.running import DEADLINE, Master, running

pytestmark = pytest.mark.system

ECHO = """
from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode="threading", cors_allowed_origins="*")

@socketio.on("say")
def say(text):
    emit("said", text)
"""


class Poller:
    """A client of Engine.IO's protocol 4 that only ever polls."""

    def __init__(self, master: Master) -> None:
        self._port = master.port
        self._cookie = ""
        self._sid = ""
        self._sid = json.loads(self.request("GET")[1:])["sid"]
        self.request("POST", "40")  # a packet of Socket.IO: connect to the name space /
        assert self.request("GET").startswith("40{")

    def request(self, method: str, body: str | None = None) -> str:
        path = f"/socket.io/?EIO=4&transport=polling{f'&sid={self._sid}' if self._sid else ''}"
        headers = {"Connection": "close", **({"Cookie": self._cookie} if self._cookie else {})}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            assert response.status == 200, text
            self._cookie = self._cookie or (response.headers["Set-Cookie"] or "").partition(";")[0]
            return text
        finally:
            connection.close()

    def say(self, text: str) -> str:
        """Send a message, and return what comes back."""
        assert self.request("POST", "42" + json.dumps(["say", text])) == "OK"
        return str(json.loads(self.request("GET")[2:])[1])


def test_clients_that_poll_keep_their_sessions_on_four_workers(tmp_path: Path) -> None:
    pytest.importorskip("flask_socketio")
    with running(tmp_path, "shop:app", "--workers", "4", "--sticky", "cookie", app=ECHO) as master:
        pollers = [Poller(master) for _ in range(12)]
        for count in range(4):
            for number, poller in enumerate(pollers):
                assert poller.say(f"{number} says {count}") == f"{number} says {count}"
        cookies = {poller._cookie for poller in pollers}
        assert len(cookies) >= 3, "they are not dealt"
        assert master.stop() == 0
