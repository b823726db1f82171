"""``eventlet.semaphore``: counting permits that can be looked at, and set, as ``counter``."""

from __future__ import annotations

from typing import Any

from greenserve.sync import semaphores

__all__ = ["BoundedSemaphore", "CappedSemaphore", "Semaphore"]


class Semaphore(semaphores.Slots):
    """As `greenserve.Semaphore`.

    Raises:
        TypeError: ``value`` is no number.
        ValueError: It is negative.
    """

    def __init__(self, value: int = 1) -> None:
        try:
            value = int(value)
        except ValueError as exc:
            raise TypeError(f"Semaphore() expect value :: int, actual: {type(value)} {exc}") from None
        if value < 0:
            raise ValueError(f"Semaphore() expect value >= 0, actual: {value!r}")
        super().__init__(value)

    @property
    def counter(self) -> int:
        """How many permits are free; negative when more are taken than there are."""
        return self._count_free()

    @counter.setter
    def counter(self, value: int) -> None:
        self.resize(value - self._count_free())

    @property
    def _waiters(self) -> Any:
        return self._queue

    def locked(self) -> bool:
        """Whether no permit is free now."""
        return self.counter <= 0

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit. False when there is none within ``timeout`` seconds, or at once unless ``blocking``."""
        return super().acquire(blocking, timeout)

    def release(self, blocking: bool = True) -> bool:  # type: ignore[override]  # eventlet's says True
        """Give a permit back. Never blocks. Returns True."""
        super().release()
        return True

    def _at_fork_reinit(self) -> None:
        self._queue.clear()

    def __str__(self) -> str:
        return f"<{type(self).__name__} c={self.counter} _w[{self.waiting}]>"


class BoundedSemaphore(Semaphore):
    """A semaphore that never has more permits than it started with."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self.original_counter = self.counter

    def release(self, blocking: bool = True) -> bool:  # type: ignore[override]  # as above
        """Give a permit back.

        Raises:
            ValueError: All of them are free.
        """
        if self.counter >= self.original_counter:
            raise ValueError("Semaphore released too many times")
        return super().release(blocking)


class CappedSemaphore(semaphores.CappedSemaphore):
    """As `greenserve.CappedSemaphore`, with eventlet's balance."""

    def acquire(self, blocking: bool = True) -> bool:  # type: ignore[override]  # eventlet's has no timeout
        """Take a permit. May switch."""
        return super().acquire(blocking)

    def release(self, blocking: bool = True) -> bool:  # type: ignore[override]  # as above
        """Give a permit back, once the limit leaves room. May switch."""
        return super().release(blocking)

    @property
    def lower_bound(self) -> semaphores.Semaphore:
        """The permits."""
        return self._permits

    @property
    def upper_bound(self) -> semaphores.Semaphore:
        """The room for more."""
        return self._room

    @property
    def balance(self) -> int:
        """The permits less the room for more, with who waits for either."""
        return self._permits.balance - self._room.balance

    def __str__(self) -> str:
        return f"<{type(self).__name__} balance={self.balance}>"
