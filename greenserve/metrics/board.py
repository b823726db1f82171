"""The figures of all workers, in memory that they share. Knows numbers; not what they are about, and no server.

A board is made before the fork, by whoever starts the workers. Each worker writes into a slot of its own, about once a
second and as a whole; any process reads, at any time. What was counted stays when a worker ends: the next one that
gets its slot goes on from there, so that no total ever goes back. It has an fd, by which the master of an upgrade takes
it over: both masters' workers write to it then, each into slots of their own.

Facts this rests on: a shared mapping of a file is the same memory in all processes that have it, and no page of it is
there before somebody writes to it; a file of memfd_create(2) is on no disk. Aligned 8 bytes are written at once, so
that a reader sees either the old number or the new one.

What this means for us: a writer makes the slot's version odd, writes, and makes it even again; a reader that finds an
odd one, or another one afterwards, reads once more. Nobody waits for anybody, and a worker that is killed in the middle
leaves a slot that is still readable. Only who takes a slot, frees that of another one, or notes a worker's end, locks
the file for that moment.
"""

from __future__ import annotations

import enum
import fcntl
import json
import mmap
import os
import tempfile
import weakref
from array import array
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

from greenserve._originals import monotonic, os_close, wall_time
from greenserve.wsgi.meter import BOUNDS

__all__ = ["COUNTERS", "GAUGES", "Board", "Figures", "Slot", "State"]

# What holds at one moment. Forgotten when the worker ends.
GAUGES = (
    "pid",
    "master",  # the process that looks after it
    "state",  # a State
    "started",  # in wall-clock seconds
    "published",  # in monotonic seconds, which all processes of a system share
    "lag",  # the longest that the hub came late since the last time, in seconds
    "green_threads",
    "pool_busy",
    "pool_size",
    "pool_waiting",
    "backlog",  # connections that wait to be accepted; -1 where the system does not tell
    "rss",  # bytes
    "idle",  # connections in each state, as `Phase` has them
    "head",
    "running",
    "closing",
    "taken",
)

# What only grows. Kept when the worker ends.
COUNTERS = (
    "accepted",  # connections
    "requests",
    "failed",
    "bytes_in",
    "bytes_out",
    "seconds",  # that requests took, together
    "cpu_seconds",
    "blocked_seconds",  # that the hub came late, together, by more than a moment
    "log_dropped",  # lines
)

_STATUSES = 1000
_BUCKETS = len(BOUNDS) + 1
_COUNTED = len(COUNTERS) + _STATUSES + _BUCKETS
_NUMBERS = 2 + len(GAUGES) + _COUNTED  # before them the version, and the report's length in bytes
_REPORT_BYTES = 24576
_SLOT_BYTES = -(-(_NUMBERS * 8 + _REPORT_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE

# Before the slots: what they are like, so that another version of this module does not take them for its own, and then
# how the workers have ended, in JSON behind its length.
_LAYOUT = json.dumps([_SLOT_BYTES, GAUGES, COUNTERS, BOUNDS]).encode()
_ENDED_AT = -(-len(_LAYOUT) // 8) * 8
_HEAD_BYTES = mmap.PAGESIZE

_TRIES = 100


class State(enum.IntEnum):
    """What a slot's worker is at."""

    FREE = 0  # there is none
    STARTING = 1  # it was, or is about to be, forked
    READY = 2  # it accepts connections
    STOPPING = 3


class Figures:
    """The figures of one slot.

    Attributes:
        gauges: What holds now, by the names in `GAUGES`.
        counters: What was counted, by the names in `COUNTERS`.
        by_status: How many answers had which status; 0 is no answer.
        buckets: How many requests took how long; see `greenserve.wsgi.meter.BOUNDS`.
        report: What is no number, as an object that was JSON.
    """

    __slots__ = ("buckets", "by_status", "counters", "gauges", "report")

    def __init__(self) -> None:
        self.gauges = dict.fromkeys(GAUGES, 0.0)
        self.counters = dict.fromkeys(COUNTERS, 0.0)
        self.by_status = [0.0] * _STATUSES
        self.buckets = [0.0] * _BUCKETS
        self.report: dict[str, Any] = {}

    def counted(self) -> array[float]:
        """All that only grows, as one row of numbers."""
        return array("d", [*self.counters.values(), *self.by_status, *self.buckets])

    @property
    def state(self) -> State:
        return State(int(self.gauges["state"]))


class Slot:
    """One worker's place on a board."""

    __slots__ = ("_bytes", "_numbers", "index")

    def __init__(self, memory: memoryview, index: int) -> None:
        self.index = index
        start = _HEAD_BYTES + index * _SLOT_BYTES
        mine = memory[start : start + _SLOT_BYTES]
        self._numbers = mine[: _NUMBERS * 8].cast("d")
        self._bytes = mine[_NUMBERS * 8 :]

    def write(self, figures: Figures) -> None:
        """Replace what is in the slot. For the one process that has it."""
        report = json.dumps(figures.report, separators=(",", ":")).encode() if figures.report else b""
        if len(report) > len(self._bytes):
            report = b""
        numbers = array("d", [len(report), *figures.gauges.values()]) + figures.counted()
        version = self._numbers[0]
        self._numbers[0] = version = version + (1 if version % 2 == 0 else 2)
        self._numbers[1:] = memoryview(numbers)
        self._bytes[: len(report)] = report
        self._numbers[0] = version + 1

    def read(self) -> Figures:
        """What was last written. From any process."""
        tries = _TRIES
        while True:
            tries -= 1
            before = self._numbers[0]
            numbers = array("d", bytes(self._numbers[1:])).tolist()
            report = bytes(self._bytes[: int(numbers[0])])
            if before % 2 == 0 and self._numbers[0] == before:
                return _figures(numbers, report)
            if not tries:
                return _figures(numbers, b"")  # its writer was killed, or stopped, in the middle

    def is_free(self) -> bool:
        return bool(self._numbers[2 + GAUGES.index("state")] == State.FREE)

    def is_used(self) -> bool:
        """Whether anybody has ever had it."""
        return bool(self._numbers[0] > 0)


def _figures(numbers: list[float], report: bytes) -> Figures:
    figures = Figures()
    start = 1
    figures.gauges = dict(zip(GAUGES, numbers[start : start + len(GAUGES)]))
    start += len(GAUGES)
    figures.counters = dict(zip(COUNTERS, numbers[start : start + len(COUNTERS)]))
    start += len(COUNTERS)
    figures.by_status = numbers[start : start + _STATUSES]
    figures.buckets = numbers[start + _STATUSES :]
    figures.report = json.loads(report) if report else {}
    return figures


class Board:
    """The slots of all workers. Made before they are forked.

    Attributes:
        fd: The file that it is in. Whoever has it can `adopt` the board.
    """

    def __init__(self, slots: int = 256) -> None:
        fd = _make_file()
        os.ftruncate(fd, _HEAD_BYTES + slots * _SLOT_BYTES)
        self._map(fd)
        self._memory[: len(_LAYOUT)] = _LAYOUT

    @classmethod
    def adopt(cls, fd: int) -> Board | None:
        """Take over the board of another process; the fd is ours from now on.

        None if there is no board, or one with other figures, as another version of this module makes it.
        """
        try:
            os.set_inheritable(fd, False)
            found = os.pread(fd, len(_LAYOUT), 0)
        except OSError:
            return None
        if found != _LAYOUT:
            os.close(fd)
            return None
        board = cls.__new__(cls)
        board._map(fd)
        return board

    def _map(self, fd: int) -> None:
        self.fd = fd
        weakref.finalize(self, os_close, fd)
        self._memory = memoryview(mmap.mmap(fd, 0))
        self._ended_length = self._memory[_ENDED_AT : _ENDED_AT + 8].cast("q")
        self._ended = self._memory[_ENDED_AT + 8 : _HEAD_BYTES]
        count = (len(self._memory) - _HEAD_BYTES) // _SLOT_BYTES
        self._slots = [Slot(self._memory, index) for index in range(count)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    def claim(self) -> Slot | None:
        """Take a free slot for this process, or None if there is none. In any process."""
        with self._locked():  # two processes that look at the same time must not find the same one
            for slot in self._slots:
                if slot.is_free():
                    figures = slot.read()
                    figures.gauges["pid"] = float(os.getpid())
                    figures.gauges["master"] = float(os.getppid())
                    figures.gauges["state"] = float(State.STARTING)
                    figures.gauges["started"] = wall_time()
                    figures.gauges["published"] = monotonic()
                    slot.write(figures)
                    return slot
        return None

    def release(self, slot: Slot) -> None:
        """Free the slot of a worker that has ended. What it counted stays. In any process."""
        figures = slot.read()
        figures.gauges = dict.fromkeys(GAUGES, 0.0)
        figures.report = {}
        slot.write(figures)

    def release_all_but(self, pids: Container[int]) -> None:
        """Free the slots of workers that were killed and could not do it.

        In a master: of its own workers ``pids`` are those that there are. Those of another one are gone when the system
        knows no such process.
        """
        for slot in self._slots:
            if _is_left_behind(slot, pids):
                with self._locked():
                    if _is_left_behind(slot, pids):  # else another master was faster, and a new worker may have it
                        self.release(slot)

    def note_end(self, why: str) -> None:
        """Count the end of a worker. In any master."""
        with self._locked():
            ended = self._read_ended()
            ended[why] = ended.get(why, 0) + 1
            text = json.dumps(ended).encode()
            if len(text) <= len(self._ended):
                self._ended[: len(text)] = text
                self._ended_length[0] = len(text)

    def ended(self) -> dict[str, int]:
        """How many workers have ended, by why."""
        with self._locked():
            return self._read_ended()

    def _read_ended(self) -> dict[str, int]:
        try:
            ended: dict[str, int] = json.loads(bytes(self._ended[: self._ended_length[0]]) or b"{}")
        except ValueError:  # a master was killed while it wrote
            return {}
        return ended

    def read(self) -> dict[int, Figures]:
        """The figures of all slots that were ever used, by their index. Those without a worker have state FREE."""
        return {slot.index: slot.read() for slot in self._slots if slot.is_used()}


def _make_file() -> int:
    if hasattr(os, "memfd_create"):  # Linux
        return os.memfd_create("greenserve-figures")
    fd, path = tempfile.mkstemp(prefix="greenserve-")
    os.unlink(path)
    return fd


def _is_left_behind(slot: Slot, pids: Container[int]) -> bool:
    """Whether the worker that has ``slot`` is gone, to a master whose own workers are ``pids``."""
    if not slot.is_used() or slot.is_free():
        return False
    gauges = slot.read().gauges
    pid = int(gauges["pid"])
    return pid not in pids and (int(gauges["master"]) == os.getpid() or not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it has become another user
        pass
    return True
