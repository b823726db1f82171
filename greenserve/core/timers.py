"""Callbacks that run once, and a queue of deadlines. Knows nothing of greenlets, sockets or clocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import compress, count
from operator import attrgetter, itemgetter

from greenserve._typing import Any

__all__ = ["Handle", "Timer", "Timers"]

# Of an entry; in C, so that nothing can come in between.
_handle_of = itemgetter(2)
_fire_of = attrgetter("fire")

# Below this many cancelled entries the heap is never rebuilt: looking costs more than they do.
_MIN_CANCELLED = 64


class Handle:
    """Something that runs once, when its turn comes.

    ``fire`` is the callable, or None once it has run, was cancelled or has become stale. The hub looks at
    ``fire`` at the moment of running, so taking a handle back never has to search a queue for it.
    """

    __slots__ = ("fire",)

    def __init__(self, fire: Callable[[], Any] | None) -> None:
        self.fire = fire

    def cancel(self) -> None:
        """Make sure that it does not run. No effect when it has run."""
        self.fire = None

    @property
    def pending(self) -> bool:
        """Whether it has neither run nor been cancelled."""
        return self.fire is not None


class Timer(Handle):
    """A handle for a `Timers` that may be cancelled without knowing that."""

    __slots__ = ("_timers",)

    def __init__(self, timers: Timers, fire: Callable[[], Any]) -> None:
        super().__init__(fire)
        self._timers = timers

    def cancel(self) -> None:
        """Make sure that it does not run. No effect when it has run."""
        self._timers.cancel(self)


class Timers:
    """A heap of (deadline, handle). Deadlines are seconds of whatever clock the caller uses.

    Equal deadlines keep the order in which they were added. For one OS thread only.
    """

    __slots__ = ("_cancelled", "_sequence", "heap")

    def __init__(self) -> None:
        # The sequence number breaks ties, so that handles themselves are never compared.
        self.heap: list[tuple[float, int, Handle]] = []
        self._sequence = count()
        self._cancelled = 0  # how many entries are known to be dead: a hint, since what is due may be cancelled too

    def add(self, deadline: float, handle: Handle) -> None:
        """Put ``handle`` in the queue.

        Raises:
            ValueError: ``deadline`` is NaN, which has no place in any order.
        """
        if deadline != deadline:  # noqa: PLR0124 - math.isnan costs a call
            raise ValueError("a deadline of NaN")
        heappush(self.heap, (deadline, next(self._sequence), handle))

    def cancel(self, handle: Handle) -> None:
        """Cancel ``handle``. Its entry stays until its deadline, or until half of the entries are dead."""
        if handle.fire is None:
            return  # it has run
        handle.fire = None
        self._cancelled += 1
        if self._cancelled > _MIN_CANCELLED and self._cancelled * 2 > len(self.heap):
            # In one step: a finalizer or a signal handler may come between two, and wait, and so let others add some.
            heap = self.heap
            heap[:] = compress(heap, map(_fire_of, map(_handle_of, heap)))
            heapify(heap)
            self._cancelled = 0

    def move_due(self, now: float, ready: deque[Handle]) -> None:
        """Append every handle whose deadline is not after ``now`` to ``ready``, the earliest first."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            # In this order: a signal handler may raise after any call, and what is in no queue would be lost.
            handle = heap[0][2]
            if handle.fire is not None:
                ready.append(handle)
            elif self._cancelled:
                self._cancelled -= 1
            heappop(heap)

    def next_deadline(self) -> float | None:
        """The earliest deadline that still counts, or None."""
        heap = self.heap
        while heap and heap[0][2].fire is None:
            heappop(heap)
            if self._cancelled:
                self._cancelled -= 1
        return heap[0][0] if heap else None

    def __len__(self) -> int:
        return sum(entry[2].fire is not None for entry in self.heap)
