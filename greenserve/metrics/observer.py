"""Looks at one worker's server, hub and process about once a second, and writes what it sees into a slot of a board.

Knows what can be looked at; not who reads it. A green thread of the worker's does it: while the hub is blocked nothing
is written, which is what a reader can tell it by.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from greenlet import greenlet

from greenserve._originals import monotonic, wall_time
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.hub import get_hub
from greenserve.core.waiters import sleep
from greenserve.metrics.backlog import accept_queue
from greenserve.metrics.board import Board, Figures, Slot, State
from greenserve.net.threads import pool_use
from greenserve.supervisor.memory import resident_bytes
from greenserve.wsgi.connection import Phase
from greenserve.wsgi.meter import Meter
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.server import Server

__all__ = ["BlockReports", "Observer"]

# How often the hub's lag is looked at, and how often all else is, in seconds.
_TICK = 0.2
_TICKS = 5

# A hub that comes later than this was blocked, in seconds: less is the system's scheduling.
_LATE = 0.05

# Who has waited for so long is told of, in seconds.
_BLOCKED = 0.5

# Of the requests that run, so many are described, those that began first; each with so many lines of its stack.
_MAX_DESCRIBED = 12
_MAX_STACK = 24
_MAX_TARGET = 300
_MAX_BLOCKS = 5

# References to a hub's greenlet that are not its children's: the hub's own, its switch's, and the argument's.
_REFS_WITHOUT_CHILDREN = 3

# What every request stands on.
_MACHINERY = ("greenserve.core.", "greenserve.wsgi.")


class Observer:
    """Watches one worker, from `start` to `stop`.

    Args:
        board: What to write to.
        server: The server of this worker. It is given a meter.
        log_dropped: Returns how many lines of the logs were dropped.
        on_tick: Called with the figures each time that they were written.
        interval: How many seconds lie between two times.
    """

    def __init__(
        self,
        board: Board,
        server: Server,
        *,
        log_dropped: Callable[[], int] = lambda: 0,
        on_tick: Callable[[Figures, Meter], object] | None = None,
        interval: float = _TICK * _TICKS,
    ) -> None:
        self._board = board
        self._server = server
        self._log_dropped = log_dropped
        self._on_tick = on_tick
        self._interval = interval
        self._slot: Slot | None = None
        self._thread: GreenThread[None] | None = None
        self._meter = Meter()
        self._base = Figures()  # what the slot's earlier workers have counted
        self._started = 0.0
        self._lag = 0.0
        self._blocked_seconds = 0.0
        self._blocks = BlockReports()

    def start(self) -> None:
        """Begin, in a green thread of this OS thread. Does nothing when the board has no slot left."""
        self._slot = self._board.claim()
        if self._slot is None:
            return
        self._base = self._slot.read()
        self._started = wall_time()
        self._server.meter = self._meter
        self._blocks.listen()
        self._thread = spawn(self._run)

    def stop(self) -> None:
        """End, and leave what was counted on the board."""
        if self._thread is not None and self._slot is not None:
            self._thread.kill()
            self._thread = None
            self._blocks.ignore()
            self._slot.write(self.look())
            self._board.release(self._slot)

    def _run(self) -> None:
        tick = self._interval / _TICKS
        due = monotonic()
        publish_at = due
        while True:
            due += tick
            sleep(max(0.0, due - monotonic()))
            now = monotonic()
            late = now - due
            self._lag = max(self._lag, late)
            if late > _LATE:
                self._blocked_seconds += late
                if late > _BLOCKED:
                    self._blocks.add(f"nothing else could run for {late:.1f} s", late)
                due = now
            if now >= publish_at:
                publish_at = max(publish_at + self._interval, now)
                self._publish()

    def _publish(self) -> None:
        if self._slot is not None:
            figures = self.look()
            self._slot.write(figures)
            self._lag = 0.0
            if self._on_tick is not None:
                self._on_tick(figures, self._meter)

    def look(self) -> Figures:
        """Return the figures of this moment. Does not switch."""
        server, meter, base = self._server, self._meter, self._base
        figures = Figures()
        use = pool_use()
        now = monotonic()
        phases = dict.fromkeys(Phase, 0)
        running = []
        for protocol, thread in list(server.connections.items()):
            phases[protocol.phase] += 1
            if protocol.response is not None and protocol.started:
                running.append((protocol, thread))
        figures.gauges.update(
            pid=os.getpid(),
            master=base.gauges["master"],
            state=State.STOPPING if server.stopping else State.READY,
            started=self._started,
            published=now,
            lag=self._lag,
            green_threads=max(0, sys.getrefcount(get_hub().greenlet) - _REFS_WITHOUT_CHILDREN),
            pool_busy=use.busy,
            pool_size=use.size,
            pool_waiting=use.waiting,
            backlog=max([queue.waiting for each in server.listeners if (queue := accept_queue(each))], default=-1),
            rss=resident_bytes(),
            **{phase.name.lower(): float(number) for phase, number in phases.items()},
        )
        counted: dict[str, float] = {
            "accepted": server.accepted,
            "requests": server.requests,
            "failed": server.failed,
            "bytes_in": meter.bytes_in,
            "bytes_out": meter.bytes_out,
            "seconds": meter.seconds,
            "cpu_seconds": time.process_time(),
            "blocked_seconds": self._blocked_seconds,
            "log_dropped": self._log_dropped(),
        }
        figures.counters = {name: base.counters[name] + number for name, number in counted.items()}
        figures.by_status = [one + other for one, other in zip(base.by_status, meter.by_status)]
        figures.buckets = [one + other for one, other in zip(base.buckets, meter.buckets)]
        running.sort(key=lambda item: item[0].started)
        figures.report = {
            "running": [_describe(protocol, thread, now) for protocol, thread in running[:_MAX_DESCRIBED]],
            "blocks": list(self._blocks.recent),
        }
        return figures


def _describe(protocol: HttpProtocol, thread: greenlet, now: float) -> dict[str, Any]:
    response = protocol.response
    target = "" if response is None else str(response.environ.get("RAW_URI", ""))
    return {
        "method": protocol.method,
        "target": target[:_MAX_TARGET],
        "client": str(protocol.address[0] if isinstance(protocol.address, tuple) else protocol.address or "unix"),
        "seconds": round(now - protocol.started, 3),
        "stack": list(_places(thread.gr_frame)),
    }


def _places(frame: FrameType | None) -> Iterator[str]:
    """Where a green thread is, from the inside out: ``module:line in function``. Reads no source, which may wait."""
    places = []
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "?"))
        places.append((module, f"{module}:{frame.f_lineno} in {frame.f_code.co_name}"))
        frame = frame.f_back
    own = [place for module, place in places if not module.startswith(_MACHINERY)]
    yield from (own or [place for _, place in places])[:_MAX_STACK]


class BlockReports(logging.Handler):
    """The last times that a green thread kept the hub from running: as the watchdog told, or as was noticed.

    Attributes:
        recent: ``at`` (wall-clock seconds) and ``text`` of each, the last one last.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.recent: deque[dict[str, Any]] = deque(maxlen=_MAX_BLOCKS)

    def listen(self) -> None:
        """Take what the watchdog logs."""
        logging.getLogger("greenserve.debug").addHandler(self)

    def ignore(self) -> None:
        """Take it no more."""
        logging.getLogger("greenserve.debug").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        # From the watchdog's own OS thread.
        self.recent.append({"at": record.created, "text": record.getMessage()[:2000]})  # atomic: deque.append

    def add(self, text: str, seconds: float) -> None:
        """Note that the hub was blocked for ``seconds`` until now, unless the watchdog has told where."""
        now = wall_time()
        if not any(now - block["at"] <= seconds + 1 for block in list(self.recent)):
            self.recent.append({"at": now, "text": text})
