"""Tells of green threads that keep a hub from running, from a native thread of its own. Changes nothing in a hub.

What it looks at costs the hubs nothing, since they keep it anyway: the time at which the hub's last round began, and
the first one of those that are still to run in it. While both stay the same and the hub is not in its poll, it is the
same green thread that runs.

A block is therefore seen after its limit and before a quarter more, unless it holds the GIL, as a long match of a
regular expression does: then the watchdog runs when it lets go, which as a rule is still at the same line.
"""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType

from greenserve._log import get_logger
from greenserve._originals import allocate_lock, get_ident, monotonic, start_new_thread
from greenserve.core.hub import Hub, all_hubs, bystanders
from greenserve.core.poller import Poller
from greenserve.core.timers import Handle
from greenserve.debug.stacks import StackReader, format_stack

__all__ = ["Watchdog", "hub_blocking_detection"]

log = get_logger("greenserve.debug")

_LOOKS = 4  # in the time that is the limit
_MAX_PAUSE = 1.0  # seconds between two looks

# The numbers of OS threads and their names, as threading knows them: asking it would take a lock that may be held by
# the very one that blocks.
_threads: dict[int | None, threading.Thread] = threading._active  # type: ignore[attr-defined]  # for want of a public name


class _Turn:
    """What a hub was doing at one look."""

    __slots__ = ("began", "is_polling", "next", "reported", "since")

    def __init__(self, hub: Hub) -> None:
        self.began = hub.now
        try:
            self.next: Handle | None = hub.ready[0]
        except IndexError:
            self.next = None
        self.is_polling = hub.is_polling
        self.since = 0.0  # when what runs was first known to run, in monotonic seconds
        self.reported = False

    def is_same(self, other: _Turn) -> bool:
        return self.began == other.began and self.next is other.next and not self.is_polling and not other.is_polling


class Watchdog:
    """Logs a warning, with the stack, when a green thread keeps its hub from running for more than ``seconds``.

    One warning for each time, to the logger ``greenserve.debug``, while it goes on; and when it is over, how long it
    has taken, at level INFO. Every OS thread's hub is watched; a main greenlet may take its time while nobody else
    waits. It runs until `stop`, in forked children too. A context manager that starts and stops it.

    Attributes:
        seconds: The limit.
        count: How many blocks it has seen.
        longest: The longest one of those that are over, in seconds.

    Raises:
        ValueError: ``seconds`` is not positive.
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f"Watchdog({seconds!r}): the limit is a number of seconds, more than 0")
        self.seconds = seconds
        self.count = 0
        self.longest = 0.0
        self._turns: dict[Hub, _Turn] = {}
        self._looked = 0.0
        self._alarm = allocate_lock()  # held while the thread is to go on

    @property
    def running(self) -> bool:
        """Whether it watches."""
        return self in _running

    def start(self) -> None:
        """Begin to watch. No effect if it does."""
        if not self.running:
            _running.add(self)
            self._start()

    def stop(self) -> None:
        """Watch no longer. No effect if it does not."""
        if self.running:
            _running.discard(self)
            self._alarm.release()

    def __enter__(self) -> Watchdog:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._turns = {}
        self._looked = monotonic()
        # A new one each time: a thread that is about to leave still looks at its own.
        self._alarm = allocate_lock()
        self._alarm.acquire()
        start_new_thread(self._run, (self._alarm,))

    def _run(self, alarm: threading.Lock) -> None:
        """What the native thread runs."""
        bystanders.add(get_ident())
        try:
            pause = min(self.seconds / _LOOKS, _MAX_PAUSE)
            while not alarm.acquire(True, pause):
                self._look()
        finally:
            bystanders.discard(get_ident())

    def _look(self) -> None:
        now = monotonic()
        hubs = all_hubs()
        for hub in self._turns.keys() - hubs:
            del self._turns[hub]
        for hub in hubs:
            self._look_at(hub, now)
        self._looked = now

    def _look_at(self, hub: Hub, now: float) -> None:
        before = self._turns.get(hub)
        turn = _Turn(hub)
        if before is not None and turn.is_same(before):
            turn = before
        else:
            turn.since = max(turn.began, self._looked)
            self._turns[hub] = turn
            if before is not None and before.reported:
                self._tell_end(hub, before, turn.began if turn.began > before.since else now)
        if turn.is_polling or turn.reported or now - turn.since < self.seconds:
            return
        frame = sys._current_frames().get(hub.thread_id)
        if frame is None or _is_the_hubs_own(frame) or (_runs_main(hub) and hub.is_idle()):
            turn.since = now  # nobody is kept from running, or the hub is about to look itself
            return
        turn.reported = True
        log.warning(
            "the hub of %s has not run for %.0f ms (the limit is %.0f ms). What runs instead:\n%s",
            _name_of(hub),
            (now - turn.since) * 1000,
            self.seconds * 1000,
            "\n".join(format_stack(StackReader().read(frame), "  ")),
        )
        self.count += 1

    def _tell_end(self, hub: Hub, turn: _Turn, end: float) -> None:
        took = end - turn.since
        self.longest = max(self.longest, took)
        log.info("the hub of %s runs again, after %.0f ms", _name_of(hub), took * 1000)


def _name_of(hub: Hub) -> str:
    thread = _threads.get(hub.thread_id)
    return f"OS thread {hub.thread_id}" if thread is None else thread.name


def _runs_main(hub: Hub) -> bool:
    return hub.main.gr_frame is None  # it is not parked


def _is_the_hubs_own(frame: FrameType | None) -> bool:
    """Whether the hub polls, or is between two others."""
    if frame is not None and frame.f_code is Hub._loop.__code__:
        return True
    while frame is not None and frame.f_code is not Poller.poll.__code__:
        frame = frame.f_back
    return frame is not None


# Those that watch, for a fork's child.
_running: set[Watchdog] = set()


def _after_fork_in_child() -> None:
    # The thread has stayed in the parent.
    for watchdog in _running:
        watchdog._start()


os.register_at_fork(after_in_child=_after_fork_in_child)


class _Detection:
    """The watchdog of `hub_blocking_detection`."""

    __slots__ = ("watchdog",)

    def __init__(self) -> None:
        self.watchdog: Watchdog | None = None


_detection = _Detection()


def hub_blocking_detection(state: bool = False, resolution: float = 1) -> None:
    """Switch a `Watchdog` with a limit of ``resolution`` seconds on or off. eventlet's name.

    Raises:
        ValueError: ``resolution`` is not positive.
    """
    watchdog = Watchdog(resolution) if state else None
    if _detection.watchdog is not None:
        _detection.watchdog.stop()
    _detection.watchdog = watchdog
    if watchdog is not None:
        watchdog.start()
