"""Looks at many things now and then, in one green thread for each OS thread. Knows nothing of what it looks at.

A timer for each wait of each connection would cost more than the wait.
"""

from __future__ import annotations

from typing import Protocol
from weakref import WeakSet

from greenserve._originals import monotonic, thread_local
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.hub import Hub, get_hub
from greenserve.core.waiters import sleep

__all__ = ["Watched", "unwatch", "watch"]

# How often to look, in seconds: at most, and at least.
_SLOWEST = 1.0
_FASTEST = 0.02


class Watched(Protocol):
    """What can be looked at."""

    def look(self, now: float) -> None:
        """See what is due. ``now`` is the monotonic time. May not switch."""


class _Heart:
    """The looks of one hub. It beats while there is something to look at, and keeps nothing alive."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.watched: WeakSet[Watched] = WeakSet()
        self.interval = _SLOWEST
        self._thread: GreenThread[None] | None = None

    def start(self) -> None:
        if self._thread is None or self._thread.ended:
            self._thread = spawn(self._run)

    def _run(self) -> None:
        while len(self.watched):
            sleep(self.interval)
            self._beat(monotonic())
        self.interval = _SLOWEST

    def _beat(self, now: float) -> None:
        # In a function of its own: the green thread, asleep, would keep the last one it has looked at.
        for each in list(self.watched):
            each.look(now)


class _Local(thread_local):
    heart: _Heart | None = None


_local = _Local()


def watch(each: Watched, shortest: float) -> None:
    """Look at ``each`` from now on, ten times in ``shortest`` seconds if that makes sense."""
    hub = get_hub()
    heart = _local.heart
    if heart is None or heart.hub is not hub:  # a fork's child has another hub
        heart = _local.heart = _Heart(hub)
    heart.watched.add(each)
    heart.interval = max(_FASTEST, min(heart.interval, shortest / 10))
    heart.start()


def unwatch(each: Watched) -> None:
    """Look at ``each`` no more. No effect in another OS thread than that which has called `watch`."""
    if _local.heart is not None:
        _local.heart.watched.discard(each)
