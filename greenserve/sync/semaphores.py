"""Counting permits, between green threads and between OS threads. Knows the wait queue; no hub.

A permit is a token in a list: taking one is one ``pop``, giving it back one ``append``, and either is a single step
that no other OS thread, signal handler or finalizer can come between. So nothing here takes a lock, and
`Semaphore.release` may be called from anywhere.

Who lets a permit go while others wait hands it over to the one who has waited longest; it is never free in between, so
that a newcomer can't take it first. A waiter enters the queue *before* it looks for a permit the last time, a releaser
frees the permit *before* it looks for waiters the last time: one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from operator import length_hint
from types import TracebackType

from greenserve.core.waiters import WaitQueue

__all__ = ["BoundedSemaphore", "CappedSemaphore", "Semaphore", "Slots", "check_timeout"]


def check_timeout(blocking: bool, timeout: float) -> float | None:
    """Return the seconds to wait at most: None for -1, which means "as long as it takes" as in ``threading``.

    Raises:
        ValueError: Negative otherwise, or given although the call is not to block.
    """
    if timeout == -1:
        return None
    if not blocking:
        raise ValueError("a call that does not block takes no timeout: acquire(timeout=...) or acquire(blocking=False)")
    if timeout < 0:
        raise ValueError(f"timeout must be -1, None or at least 0 seconds, not {timeout!r}")
    return timeout


class Semaphore:
    """``value`` permits, handed out first come first served. A context manager, as ``threading.Semaphore`` is.

    Raises:
        ValueError: ``value`` is negative.
    """

    __slots__ = ("__weakref__", "_free", "_queue", "_unused")

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError(f"a semaphore starts with at least 0 permits, not {value!r}")
        self._free: list[None] = []  # permits that were given back
        # Permits that nobody has taken yet. They need no memory, so that a limit of a million costs nothing.
        self._unused: Iterator[None] = repeat(None, value)
        self._queue = WaitQueue()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit. May switch.

        False when there is none within ``timeout`` seconds, or at once unless ``blocking``.

        Raises:
            ValueError: ``timeout`` is negative but not -1, or was given although ``blocking`` is false.
        """
        if timeout is not None:
            timeout = check_timeout(blocking, timeout)
        if self._free:
            try:
                self._free.pop()  # atomic: list.pop
                return True
            except IndexError:
                pass  # another OS thread was faster
        return self._take() or (blocking and self._wait(timeout))

    def _take(self) -> bool:
        """Take a permit if one is free."""
        if self._free:
            try:
                self._free.pop()  # atomic: list.pop
                return True
            except IndexError:
                pass
        for _ in self._unused:  # atomic: repeat.__next__
            return True
        return False

    def _wait(self, timeout: float | None) -> bool:
        if timeout is not None and timeout <= 0:
            return False
        queue = self._queue
        waiter = queue.enter()
        self._hand_over()
        return queue.finish(waiter, timeout, self.release)

    def release(self) -> None:
        """Give a permit back: to the one who has waited longest, if anybody waits. From anywhere, and never blocks."""
        queue = self._queue
        if not queue or not queue.wake():
            self._free.append(None)  # atomic: list.append
            if queue:
                self._hand_over()

    def _hand_over(self) -> None:
        """Give free permits to those who came into the queue while they became free."""
        queue = self._queue
        while queue and self._take():
            if not queue.wake():
                self._free.append(None)

    def locked(self) -> bool:
        """Whether no permit is free now."""
        return not self._count_free()

    def bounded(self) -> bool:
        """Whether `release` would block: never here. `CappedSemaphore` answers otherwise."""
        return False

    @property
    def balance(self) -> int:
        """How many permits are free, or, as a negative number, how many wait for one."""
        return self._count_free() - self.waiting

    @property
    def waiting(self) -> int:
        """How many wait for a permit."""
        return len(self._queue)

    def _count_free(self) -> int:
        return len(self._free) + length_hint(self._unused)

    __enter__ = acquire

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}: {self._count_free()} free, {self.waiting} waiting>"


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more permits than it started with, so that a release too many is noticed."""

    __slots__ = ("_initial",)

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._initial = value

    def release(self) -> None:
        """As `Semaphore.release`.

        Raises:
            ValueError: Every permit is free already.
        """
        if self._count_free() >= self._initial:
            raise ValueError(f"released more often than acquired: all {self._initial} permits are free")
        super().release()


class Slots(Semaphore):
    """A semaphore whose permits can be taken away for good: the room in a queue or a pool, whose size may change."""

    __slots__ = ("_owed",)

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self._owed: list[None] = []  # permits to take away that were not free: the next releases pay for them

    def release(self) -> None:
        """As `Semaphore.release`, unless permits are owed: then one less is."""
        if self._owed and self.pay():
            return
        Semaphore.release(self)
        if self._owed:
            self._hand_over()

    def pay(self) -> bool:
        """Give a permit back for one that is owed. False when none is."""
        try:
            self._owed.pop()  # atomic: list.pop
        except IndexError:
            return False
        return True

    def _hand_over(self) -> None:
        """Let what became free meanwhile pay first, then serve those who wait."""
        while self._owed and self._take():
            if not self.pay():
                self._free.append(None)
        Semaphore._hand_over(self)

    def withdraw(self) -> None:
        """Take one permit away: a free one, or else the next that is given back. Never blocks."""
        if not self._take():
            self._owed.append(None)  # atomic: list.append
            self._hand_over()

    def resize(self, by: int) -> None:
        """Add ``by`` permits, or take ``-by`` away. Never blocks."""
        for _ in range(by):
            self.release()
        for _ in range(-by):
            self.withdraw()

    def open(self) -> None:
        """Never again make anybody wait."""
        self._unused = repeat(None)
        self._hand_over()

    def _count_free(self) -> int:
        return super()._count_free() - len(self._owed)


class CappedSemaphore:
    """``count`` permits, and never more than ``limit``: `release` waits until one is taken.

    With a limit of 0 every `release` meets one `acquire`: whoever comes first waits for the other.

    Raises:
        ValueError: ``count`` is negative or above ``limit``.
    """

    __slots__ = ("__weakref__", "_permits", "_room")

    def __init__(self, count: int, limit: int) -> None:
        if not 0 <= count <= limit:
            raise ValueError(f"a capped semaphore needs 0 <= count <= limit, not count={count!r}, limit={limit!r}")
        self._permits = Semaphore(count)
        self._room = Slots(limit - count)

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """As `Semaphore.acquire`. May switch."""
        if timeout is not None:
            timeout = check_timeout(blocking, timeout)
        if self._permits.acquire(False):
            self._room.release()
            return True
        if not blocking:
            return False
        # Whoever waits for a permit makes room for it at once: under a limit of 0 there is no other room.
        self._room.release()
        acquired = False
        try:
            acquired = self._permits.acquire(True, timeout)
        finally:
            if not acquired:
                self._room.withdraw()
        return acquired

    def release(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Give a permit back. False when the limit leaves no room within ``timeout`` seconds, or at once unless
        ``blocking``. May switch.

        Raises:
            ValueError: As `acquire`.
        """
        if not self._room.acquire(blocking, timeout):
            return False
        self._permits.release()
        return True

    def locked(self) -> bool:
        """Whether no permit is free now."""
        return self._permits.locked()

    def bounded(self) -> bool:
        """Whether `release` would block now."""
        return self._room.locked()

    @property
    def balance(self) -> int:
        """How many permits are free or wait for room, or, as a negative number, how many `acquire` wait for one."""
        return self._permits.balance + self._room.waiting

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}: balance {self.balance}>"
