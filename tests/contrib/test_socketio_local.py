"""`LocalManager`: servers that hear of each other's clients. Here they are in one process, as two workers would be."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import socketio

import greenserve
from greenserve import websocket
from greenserve.contrib import socketio as contrib
from greenserve.contrib.socketio import LocalManager
from greenserve.testing import serve, wait_until_parked

DEADLINE = 20.0


class Visitor:
    """A client of Socket.IO over a WebSocket."""

    def __init__(self, ws: websocket.WebSocket) -> None:
        self._ws = ws
        ws.receive(DEADLINE)
        ws.send("40")
        self.sid = json.loads(str(ws.receive(DEADLINE))[2:])["sid"]

    def hear(self) -> Any:
        """Return the next event, as a list; None for a disconnect. A callback that it asks for is answered."""
        text = str(self._ws.receive(DEADLINE))
        if text == "41":
            return None
        mark, bracket, rest = text.partition("[")
        assert mark.startswith("42")
        if mark != "42":
            self._ws.send(f'43{mark[2:]}["yes", 7]')
        return json.loads(bracket + rest)


class Worker(NamedTuple):
    sio: Any
    port: int

    @contextmanager
    def visit(self) -> Iterator[Visitor]:
        with websocket.connect(f"ws://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=websocket") as ws:
            yield Visitor(ws)


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bus") as around:
        yield str(Path(around, "meeting"))


@contextmanager
def working(manager: LocalManager) -> Iterator[Worker]:
    sio = contrib.Server(client_manager=manager)
    with serve(socketio.WSGIApp(sio)) as (_, port):
        yield Worker(sio, port)
    sio.shutdown()
    manager.close()
    wait_until_parked()


@pytest.fixture
def workers(path: str) -> Iterator[list[Worker]]:
    with ExitStack() as stack:
        yield [stack.enter_context(working(LocalManager(path))) for _ in range(2)]


def test_events_reach_the_clients_of_all_workers_once(workers: list[Worker]) -> None:
    here, there = workers
    with here.visit() as ann, there.visit() as bob:
        here.sio.emit("said", "to all")
        here.sio.emit("said", ("two", "values"))
        here.sio.emit("said", "to all but bob", skip_sid=bob.sid)
        here.sio.emit("said", "to bob", room=bob.sid)
        here.sio.emit("said", "over", namespace="/")
        heard = [["said", "to all"], ["said", "two", "values"], ["said", "over"]]
        assert [bob.hear() for _ in range(4)] == [*heard[:2], ["said", "to bob"], heard[2]]
        assert [ann.hear() for _ in range(4)] == [*heard[:2], ["said", "to all but bob"], heard[2]]
        there.sio.emit("said", "and back")
        assert ann.hear() == bob.hear() == ["said", "and back"]


def test_any_worker_can_move_any_client_from_room_to_room(workers: list[Worker]) -> None:
    here, there = workers
    with here.visit() as ann, there.visit() as bob:
        here.sio.enter_room(ann.sid, "kitchen")
        here.sio.enter_room(bob.sid, "kitchen")  # who is there
        here.sio.emit("said", "one", room="kitchen")
        here.sio.leave_room(bob.sid, "kitchen")
        here.sio.emit("said", "two", room="kitchen")
        here.sio.emit("said", "three")
        assert [ann.hear()[1] for _ in range(3)] == ["one", "two", "three"]
        assert [bob.hear()[1] for _ in range(2)] == ["one", "three"]
        there.sio.enter_room(bob.sid, "attic")
        here.sio.emit("said", "four", room="attic")
        here.sio.close_room("attic")
        here.sio.emit("said", "five", room="attic")
        here.sio.emit("said", "six")
        assert ann.hear()[1] == "six"
        assert [bob.hear()[1] for _ in range(2)] == ["four", "six"]


def test_the_answer_of_a_client_comes_back_to_the_worker_that_asked(workers: list[Worker]) -> None:
    here, there = workers
    with there.visit() as bob:  # who asks has no client of its own
        answers: greenserve.Queue[Any] = greenserve.Queue()
        here.sio.emit("ask", "well?", room=bob.sid, callback=lambda *args: answers.put(args))
        assert bob.hear() == ["ask", "well?"]
        assert answers.get(timeout=DEADLINE) == ("yes", 7)


def test_a_worker_can_disconnect_the_client_of_another(workers: list[Worker]) -> None:
    here, there = workers
    with here.visit() as ann, there.visit() as bob:
        left: greenserve.Queue[str] = greenserve.Queue()
        there.sio.on("disconnect", lambda sid, *_: left.put(sid))
        here.sio.disconnect(bob.sid)
        assert left.get(timeout=DEADLINE) == bob.sid
        assert bob.hear() is None
        there.sio.emit("said", "to who is left")
        assert ann.hear() == ["said", "to who is left"]


def test_binary_and_large_messages_arrive_whole(workers: list[Worker]) -> None:
    here, there = workers
    with there.visit() as bob:
        text = "x" * (8 << 20)
        here.sio.emit("said", text)  # has no clients, and is on the bus none the less
        assert bob.hear() == ["said", text]
        here.sio.emit("bytes", b"\x00\xff")
        assert bob._ws.receive(DEADLINE) == '451-["bytes",{"_placeholder":true,"num":0}]'
        assert bob._ws.receive(DEADLINE) == b"\x00\xff"


def test_tasks_and_native_threads_emit_too(workers: list[Worker]) -> None:
    here, there = workers
    with here.visit() as ann, there.visit() as bob:
        here.sio.start_background_task(here.sio.emit, "said", "by a task").join()
        greenserve.execute(there.sio.emit, "said", "by a thread")
        for visitor in (ann, bob):
            assert sorted(visitor.hear()[1] for _ in range(2)) == ["by a task", "by a thread"]


def test_another_program_emits_by_the_path(workers: list[Worker], path: str) -> None:
    outside = LocalManager(path, write_only=True)
    with workers[0].visit() as ann, workers[1].visit() as bob:
        outside.emit("said", "Tea is ready.")
        greenserve.execute(outside.emit, "said", "Still.")
        for visitor in (ann, bob):
            assert [visitor.hear()[1] for _ in range(2)] == ["Tea is ready.", "Still."]
    outside.close()


def test_a_manager_that_has_left_and_comes_back_hears_everything_once(workers: list[Worker]) -> None:
    here, there = workers
    with here.visit() as ann, there.visit() as bob:
        here.sio.emit("said", "one")
        assert bob.hear() == ann.hear() == ["said", "one"]
        there.sio.manager.close()
        there.sio.emit("said", "two")
        assert bob.hear() == ann.hear() == ["said", "two"]
        for text in ("three", "four"):
            here.sio.emit("said", text)
            assert bob.hear() == ann.hear() == ["said", text]


def test_a_manager_may_be_closed_at_any_time_and_says_nothing_of_it(
    path: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = LocalManager(path)
    sio = contrib.Server(client_manager=manager)
    for _ in range(2):
        manager.initialize()
        manager.close()  # before anybody has begun to listen
        wait_until_parked()
        sio.emit("said", "nobody hears it")
        wait_until_parked()
        manager.close()
        wait_until_parked()
    assert os.listdir(path) == []
    assert (caplog.messages, capsys.readouterr().err) == ([], "")


def test_another_channel_is_not_heard(workers: list[Worker], path: str) -> None:
    outside = LocalManager(path, "another", write_only=True)
    with workers[0].visit() as ann:
        outside.emit("said", "to nobody")
        workers[1].sio.emit("said", "to all")
        assert ann.hear() == ["said", "to all"]


def test_a_process_that_is_alone_needs_no_bus() -> None:
    with working(LocalManager()) as worker, worker.visit() as ann, worker.visit() as bob:
        worker.sio.emit("said", "to all")
        assert ann.hear() == bob.hear() == ["said", "to all"]


def test_who_only_writes_has_to_say_where() -> None:
    with pytest.raises(ValueError, match=r"needs the path"):
        LocalManager(write_only=True)


def test_another_hub_than_ours_is_refused(path: str) -> None:
    pytest.importorskip("gevent")
    sio = socketio.Server(async_mode="gevent", client_manager=LocalManager(path))
    with pytest.raises(RuntimeError, match=r"choose \"greenserve\" or \"threading\""):
        sio.manager.initialize()
    assert not Path(path).exists()


def test_a_folder_that_can_not_be_used_is_told_to_who_emits(path: str) -> None:
    manager = LocalManager(f"{path}/too/deep")
    sio = contrib.Server(client_manager=manager)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            sio.emit("said", "to all")


def test_a_manager_that_was_made_before_the_fork_is_another_one_in_each_worker(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with working(LocalManager(path)) as before:
        before.sio.emit("said", "of the master")
        manager = before.sio.manager
        identity, bus = manager.host_id, manager._bus
        monkeypatch.setattr("os.getpid", lambda: 1)  # as it is after a fork
        before.sio.emit("said", "of a worker")
        worker = manager.host_id
        monkeypatch.undo()
        bus.close()
        assert worker != identity
        assert manager._bus is not bus
