"""Flask-SocketIO on four workers, by polling alone, while one of them is replaced: nobody is told anything twice."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import greenserve
from tests.cli.running import environment
from tests.contrib.crowd import DEADLINE, Crowd, Member
from tests.servers import redis
from tests.supervisor.running import Master, ask, running, wait_gone

pytestmark = pytest.mark.system

CHAT = """
import os

from flask import Flask
from flask_socketio import join_room
from greenserve._bus.place import current_place
from greenserve.contrib.flask_socketio import SocketIO
from greenserve.contrib.socketio import LocalManager

app = Flask(__name__)
queue = os.environ.get("CHAT_QUEUE")
socketio = SocketIO(app, **({"message_queue": queue} if queue else {"client_manager": LocalManager()}))


@socketio.on("join")
def join(room):
    join_room(room)
    return os.getpid()


@app.get("/bus")
def bus():
    return current_place().folder


@app.get("/say/<room>/<int:number>")
def say(room, number):
    socketio.emit("said", number, to=room)
    return str(os.getpid())
"""

# What is said to all rooms before and after, and how soon who lost its worker has to be back, in seconds.
ROUNDS = 5
BACK_WITHIN = 5.0


class Speaker:
    """Lets a worker say something to a room."""

    def __init__(self, port: int, place: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self._connection.sock = greenserve.connect(("127.0.0.1", port))
        self._cookie = f"greenserve_worker={place}"
        self.process = self.say("nobody", 0)

    def say(self, room: str, number: int) -> int:
        """Say a number, and return the process of the worker."""
        path = f"/say/{room.replace(' ', '%20')}/{number}"
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        response = self._connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return int(text)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def speakers(port: int, count: int) -> Iterator[list[Speaker]]:
    found = [Speaker(port, place) for place in range(count)]
    try:
        yield found
    finally:
        for speaker in found:
            speaker.close()


class Talk:
    """What is said to the rooms of a crowd: in each the numbers from 0 on."""

    def __init__(self, crowd: Crowd) -> None:
        self.said = dict.fromkeys(crowd.rooms, 0)
        self._crowd = crowd

    def say(self, speaking: list[Speaker], rooms: list[str], hearing: list[Member]) -> None:
        """Say the next number to each of ``rooms``, by one worker after the other; wait until ``hearing`` have it."""
        for place, room in enumerate(rooms):
            speaking[(place + self.said[room]) % len(speaking)].say(room, self.said[room])
            self.said[room] += 1
        self._crowd.wait_until(
            lambda: all(len(member.heard) >= self.said[member.room] for member in hearing), f"{self.said} are heard"
        )

    def all_of(self, member: Member) -> list[int]:
        return list(range(self.said[member.room]))


@contextmanager
def chat(folder: Path, manager: str = "LocalManager", *args: str) -> Iterator[Master]:
    with ExitStack() as stack:
        variables = {"TMPDIR": str(folder)}
        if manager == "Redis":
            variables["CHAT_QUEUE"] = f"redis://127.0.0.1:{stack.enter_context(redis())}/0"
        args = ("shop:app", "--workers", "4", "--sticky", "cookie", *args)
        yield stack.enter_context(running(folder, *args, app=CHAT, env={**environment(), **variables}))


def has_come_again(member: Member) -> bool:
    return len(member.joins) > 1


@pytest.mark.parametrize(
    ("manager", "number"),
    [("LocalManager", signal.SIGTERM), ("LocalManager", signal.SIGKILL), ("Redis", signal.SIGTERM)],
)
def test_who_stays_hears_everything_once_and_who_loses_its_worker_is_back_soon(
    tmp_path: Path, manager: str, number: int
) -> None:
    with (
        chat(tmp_path, manager) as master,
        Crowd(master.port, rooms=20, light=192, real=8, places=4) as crowd,
        speakers(master.port, 4) as voices,
    ):
        members, talk = crowd.members, Talk(crowd)
        crowd.wait_until(lambda: all(member.joins for member in members), "all are in their rooms")
        assert set(crowd.by_process()) == {voice.process for voice in voices}
        assert min(crowd.by_process().values()) >= 40
        for _ in range(ROUNDS):
            talk.say(voices, crowd.rooms, members)

        process = members[0].process
        leaving = [member for member in members if member.process == process]
        staying = [member for member in members if member.process != process]
        others = [voice for voice in voices if voice.process != process]
        before = len(master.err)
        replaced_at = time.monotonic()
        os.kill(process, number)
        while not all(map(has_come_again, leaving)):
            talk.say(others, crowd.rooms[:10], staying)  # in the other rooms nothing happens that would end a poll
        while not all(member.has_heard_since for member in leaving):
            talk.say(others, crowd.rooms, staying)
        (new,) = master.workers(after=before)
        with speakers(master.port, 4) as anew:
            assert new in {voice.process for voice in anew}
            for _ in range(ROUNDS):
                talk.say(anew, crowd.rooms, staying)
            crowd.wait_until(
                lambda: all(member.heard[-1] == talk.said[member.room] - 1 for member in leaving), "the last is heard"
            )

        assert [sorted(member.heard) for member in staying] == [talk.all_of(member) for member in staying]
        assert [len(member.joins) for member in staying] == [1] * len(staying)
        assert [len(member.joins) for member in leaving] == [2] * len(leaving)
        assert max(member.joins[1] for member in leaving) - replaced_at <= BACK_WITHIN
        for member in leaving:
            everything = talk.all_of(member)
            assert len(set(member.heard)) == len(member.heard), "heard something twice"
            assert set(member.heard) >= {*everything[:ROUNDS], *everything[-ROUNDS:]}
        assert process not in crowd.by_process()
    assert "Traceback" not in master.err.text
    assert "dropped" not in master.err.text


def test_a_worker_that_is_stopped_holds_up_nobody_and_hears_it_all_when_it_goes_on(tmp_path: Path) -> None:
    with (
        chat(tmp_path) as master,
        Crowd(master.port, rooms=4, light=16, real=0, places=4) as crowd,
        speakers(master.port, 4) as voices,
    ):
        members, talk = crowd.members, Talk(crowd)
        crowd.wait_until(lambda: all(member.joins for member in members), "all are in their rooms")
        process = members[0].process
        awake = [member for member in members if member.process != process]
        assert 0 < len(awake) < len(members)
        os.kill(process, signal.SIGSTOP)
        for _ in range(50):
            talk.say([voice for voice in voices if voice.process != process], crowd.rooms, awake)
        os.kill(process, signal.SIGCONT)
        talk.say(voices, crowd.rooms, members)
        assert [sorted(member.heard) for member in members] == [talk.all_of(member) for member in members]


@pytest.mark.parametrize("args", [(), ("--preload",)], ids=["", "preload"])
def test_all_come_back_after_a_reload_and_the_new_workers_hear_each_other(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    with (
        chat(tmp_path, "LocalManager", *args) as master,
        Crowd(master.port, rooms=4, light=36, real=4, places=4) as crowd,
    ):
        members, talk = crowd.members, Talk(crowd)
        crowd.wait_until(lambda: all(member.joins for member in members), "all are in their rooms")
        before = master.send(signal.SIGHUP)
        new = set(master.workers(after=before, count=4))
        crowd.wait_until(lambda: {member.process for member in members} <= new, "all are back")
        with speakers(master.port, 4) as voices:
            for _ in range(ROUNDS):
                talk.say(voices, crowd.rooms, members)
        assert [sorted(member.heard) for member in members] == [talk.all_of(member) for member in members]
        folder = Path(ask(master.port, "/bus")[1])
        assert folder.is_dir()
        assert master.stop() == 0
        assert not folder.exists()


def test_the_workers_of_both_masters_hear_each_other_during_an_upgrade(tmp_path: Path) -> None:
    with (
        chat(tmp_path, "LocalManager", "--pidfile", "pid") as master,
        Crowd(master.port, rooms=4, light=16, real=0, places=4) as crowd,
        ExitStack() as stack,
    ):
        members, talk = crowd.members, Talk(crowd)
        crowd.wait_until(lambda: all(member.joins for member in members), "all are in their rooms")
        before = master.send(signal.SIGUSR2)
        new = set(master.workers(after=before, count=4))
        folder = Path(ask(master.port, "/bus")[1])
        voice = None
        while voice is None or voice.process not in new:
            voice = stack.enter_context(closing(Speaker(master.port, 0)))
        talk.say([voice], crowd.rooms, [member for member in members if member.process not in new])
        pid = int((tmp_path / "pid.2").read_text())
        assert master.stop() == 0  # the old one: all are with the new one then
        assert folder.is_dir()
        crowd.wait_until(lambda: {member.process for member in members} <= new, "all are back")
        with speakers(master.port, 4) as voices:
            talk.say(voices, crowd.rooms, [])
            crowd.wait_until(
                lambda: all(member.heard[-1:] == [talk.said[member.room] - 1] for member in members),
                "the last is heard",
            )
        os.kill(pid, signal.SIGTERM)
        wait_gone(pid)
        assert not folder.exists()
