"""What differs under ``multiprocessing``: its locks and semaphores, shared between processes, let others run.

Facts this rests on (CPython's ``Modules/_multiprocessing/semaphore.c``): whoever holds one is known by the number of
its OS thread alone, and nobody is told when another process lets go.

What this means for us: a recursive lock remembers its green thread too, and whoever waits asks again and again.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # typeshed has it on some systems only
from typing import Any

from greenlet import getcurrent, greenlet

from greenserve._originals import monotonic
from greenserve.core.waiters import sleep
from greenserve.green._parking import find_hub

__all__ = ["SemLock"]

_RECURSIVE = 0

# Seconds between two looks, at first and at most.
_MIN_PAUSE = 0.0005
_MAX_PAUSE = 0.02

_Base: Any = _multiprocessing.SemLock


class SemLock(_Base):  # type: ignore[misc]  # as above
    """What ``multiprocessing.Lock`` and its kind are made of."""

    _owner: greenlet | None = None

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it. False when it can't be had within ``timeout`` seconds, None for ever. May switch."""
        if self._try():
            return True
        if not block or (timeout is not None and timeout <= 0):
            return False
        if find_hub() is None:
            return bool(super().acquire(block, timeout))
        deadline = None if timeout is None else monotonic() + timeout
        pause = _MIN_PAUSE
        while not self._try():
            left = pause if deadline is None else deadline - monotonic()
            if left <= 0:
                return False
            sleep(min(pause, left))
            pause = min(pause * 2, _MAX_PAUSE)
        return True

    def _try(self) -> bool:
        current = getcurrent()
        if self.kind == _RECURSIVE and self._is_mine() and self._owner is not current:
            return False  # another green thread of this OS thread has it
        if not super().acquire(False):
            return False
        self._owner = current
        return True

    def __enter__(self) -> bool:
        return self.acquire()
