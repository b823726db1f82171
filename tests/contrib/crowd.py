"""A crowd of Socket.IO clients that poll, and come again by themselves: light ones in green threads, and real ones."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import socketio

import greenserve

__all__ = ["Crowd", "LightClient", "Member", "RealClient"]

DEADLINE = 30.0

# How long a client waits before it connects anew, in seconds. Those for browsers wait longer.
PAUSE = 0.1


class Lost(Exception):
    """The session is over."""


class Member:
    """One client, of one room.

    Attributes:
        room: Its room.
        heard: The numbers that it heard, in order.
        joins: When it was in its room, in monotonic seconds; once for each time it had to come.
        heard_before: How much it had heard by then, likewise.
        process: The worker that it is with.
    """

    def __init__(self, room: str, tell: Callable[[], Any]) -> None:
        self.room = room
        self.heard: list[int] = []
        self.joins: list[float] = []
        self.heard_before: list[int] = []
        self.process = 0
        self._tell = tell

    def _hear(self, number: int) -> None:
        self.heard.append(number)
        self._tell()

    def _have_joined(self, process: int) -> None:
        self.process = process
        self.heard_before.append(len(self.heard))
        self.joins.append(time.monotonic())
        self._tell()

    def close(self) -> None:
        """Leave."""
        raise NotImplementedError

    @property
    def has_heard_since(self) -> bool:
        """Whether it has heard anything since it came the last time."""
        return bool(self.joins) and len(self.heard) > self.heard_before[-1]


class LightClient(Member):
    """Engine.IO's protocol 4, by polling alone, and what is needed of Socket.IO's.

    It has the cookie of a worker when it comes first, and keeps none: what leads it back is its session.
    """

    def __init__(self, port: int, room: str, tell: Callable[[], Any], place: int) -> None:
        super().__init__(room, tell)
        self._port = port
        self._headers = {"Cookie": f"greenserve_worker={place}"}
        self._path = ""
        self._connection: http.client.HTTPConnection | None = None
        self._thread = greenserve.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                self._live()
            except (OSError, http.client.HTTPException, Lost):
                self._disconnect()
                greenserve.sleep(PAUSE)

    def _live(self) -> None:
        self._path = "/socket.io/?EIO=4&transport=polling"
        sid = json.loads(self._ask("GET")[1:])["sid"]
        self._headers = {}
        self._path += f"&sid={sid}"
        self._ask("POST", "40")
        assert self._ask("GET").startswith("40{")
        self._ask("POST", "420" + json.dumps(["join", self.room]))
        while True:
            for packet in self._ask("GET").split("\x1e"):
                if packet == "2":
                    self._ask("POST", "3")
                elif packet.startswith("430"):
                    self._have_joined(json.loads(packet[3:])[0])
                elif packet.startswith("42"):
                    event, number = json.loads(packet[2:])
                    assert event == "said"
                    self._hear(number)

    def _ask(self, method: str, body: str | None = None) -> str:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
            self._connection.sock = greenserve.connect(("127.0.0.1", self._port))
        self._connection.request(method, self._path, body, self._headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        if response.will_close:
            self._disconnect()
        if response.status != 200:
            raise Lost(text)
        return text

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self._thread.kill()
        self._disconnect()


class RealClient(Member):
    """python-socketio's own."""

    def __init__(self, port: int, room: str, tell: Callable[[], Any]) -> None:
        super().__init__(room, tell)
        self._client = socketio.Client(reconnection_delay=PAUSE, reconnection_delay_max=PAUSE, randomization_factor=0)
        self._client.on("connect", lambda: self._client.emit("join", self.room, callback=self._have_joined))
        self._client.on("said", self._hear)
        url = f"http://127.0.0.1:{port}"
        greenserve.execute(self._client.connect, url, transports=["polling"], wait_timeout=DEADLINE)

    def close(self) -> None:
        greenserve.execute(self._leave)

    def _leave(self) -> None:
        self._client.eio.queue.join()
        # It may be about to come again, from threads of its own: it is not to go on with that behind the test.
        self._client.reconnection = False
        self._client.reconnection_attempts = 1
        self._client.shutdown()
        self._client.eio.wait()


class Crowd:
    """All clients. Use it in a with statement."""

    def __init__(self, port: int, rooms: int, light: int, real: int, places: int) -> None:
        self.rooms = [f"room {number}" for number in range(rooms)]
        self.members: list[Member] = []
        self._news: greenserve.Queue[None] = greenserve.Queue()
        self._port = port
        self._counts = light, real, places

    def __enter__(self) -> Crowd:
        light, real, places = self._counts
        for number in range(light):
            self.members.append(
                LightClient(self._port, self._room(number), self._tell, number // len(self.rooms) % places)
            )
        for number in range(real):
            self.members.append(RealClient(self._port, self._room(number), self._tell))
        return self

    def _room(self, number: int) -> str:
        return self.rooms[number % len(self.rooms)]

    def _tell(self) -> None:
        self._news.put(None)

    def __exit__(self, *exc: object) -> None:
        for member in self.members:
            member.close()

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until ``is_so()``; asked anew whenever a member hears something or comes."""
        with greenserve.Timeout(DEADLINE, AssertionError(f"not within {DEADLINE} s: {what}")):
            while not is_so():
                self._news.get()

    def by_process(self) -> Counter[int]:
        """Return how many members each worker has."""
        return Counter(member.process for member in self.members)
