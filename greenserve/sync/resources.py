"""Things that are dear to make and used by one at a time, such as connections. Knows semaphores; no hub."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from greenserve._typing import Generic, TypeVar
from greenserve.sync.semaphores import Slots

__all__ = ["Pool", "Token", "TokenPool"]

T = TypeVar("T")


class Pool(Generic[T]):
    """At most ``max_size`` items, made when they are needed and handed out first come first served.

    A subclass may say what becomes of items that are no longer needed (`dispose`), and whether one that has lain idle
    can still be used (`is_usable`).

    Args:
        min_size: How many are made at once.
        max_size: How many there are at most.
        order_as_stack: Hand out the item first that came back last, so that those not needed stay unused. Otherwise all
            are used in turn.
        create: Makes an item; it may switch. A subclass may define the method instead.

    Raises:
        ValueError: Not ``0 <= min_size <= max_size``.
    """

    def __init__(
        self,
        min_size: int = 0,
        max_size: int = 4,
        order_as_stack: bool = False,
        create: Callable[[], T] | None = None,
    ) -> None:
        if not 0 <= min_size <= max_size:
            raise ValueError(f"a pool needs 0 <= min_size <= max_size, not {min_size!r} and {max_size!r}")
        self.order_as_stack = order_as_stack
        self._create = create
        self._max_size = max_size
        self._slots = Slots(max_size)  # one permit for each item that may be taken
        self._idle: deque[T] = deque(self.create() for _ in range(min_size))

    @property
    def max_size(self) -> int:
        """How many items there are at most."""
        return self._max_size

    def create(self) -> T:
        """Make an item. May switch."""
        if self._create is None:
            raise NotImplementedError(f"{type(self).__name__}(create=...), or a method create(), must make the items")
        return self._create()

    def dispose(self, item: T) -> None:
        """Do away with an item that nobody will use again. By default nothing has to be done."""

    def is_usable(self, item: T) -> bool:
        """Whether an idle item can be handed out; if not, it is disposed of. By default it can. Must not switch."""
        return True

    def get(self, timeout: float | None = None) -> T:
        """Take an item, which must be given back with `put` or `discard`. May switch.

        Raises:
            TimeoutError: ``max_size`` items were in use for ``timeout`` seconds.
        """
        if not self._slots.acquire(timeout=timeout):
            raise TimeoutError(f"no item of the pool came free in {timeout} s: its max_size is {self._max_size}")
        try:
            while self._idle:
                try:
                    item = self._idle.popleft()  # atomic: deque.popleft
                except IndexError:
                    break
                if self.is_usable(item):
                    return item
                self.dispose(item)
            return self.create()
        except BaseException:
            self._slots.release()
            raise

    def put(self, item: T) -> None:
        """Give back what `get` returned. It is disposed of if the pool has shrunk meanwhile. Never blocks by itself."""
        if self._slots.pay():
            self.dispose(item)
            return
        if self.order_as_stack:
            self._idle.appendleft(item)
        else:
            self._idle.append(item)
        self._slots.release()

    def discard(self, item: T) -> None:
        """Give back what `get` returned so that nobody gets it again; another may be made in its place."""
        try:
            self.dispose(item)
        finally:
            self._slots.release()

    def prune(self) -> None:
        """Dispose of the idle items that can't be used any more. May switch if that does."""
        self._dispose_idle(self.is_usable)

    def clear(self) -> None:
        """Dispose of all idle items. May switch if that does."""
        self._dispose_idle(lambda item: False)

    def _dispose_idle(self, is_kept: Callable[[T], bool]) -> None:
        for _ in range(len(self._idle)):
            # Whoever looks at an item holds it, so that there are never more than max_size.
            if not self._slots.acquire(blocking=False):
                return
            try:
                item = self._idle.pop()  # atomic: deque.pop
            except IndexError:
                self._slots.release()
                return
            if is_kept(item):
                self._idle.appendleft(item)  # after a whole turn the order is as it was
                self._slots.release()
            else:
                self.discard(item)

    @contextmanager
    def item(self, timeout: float | None = None) -> Iterator[T]:
        """``with pool.item() as item:`` takes one, and gives it back at the end. May switch. Raises as `get`."""
        item = self.get(timeout)
        try:
            yield item
        finally:
            self.put(item)

    def resize(self, max_size: int) -> None:
        """Change how many items there are at most. Too many are disposed of: idle ones now, others when they return.

        Not from two OS threads at the same time.

        Raises:
            ValueError: ``max_size`` is negative.
        """
        if max_size < 0:
            raise ValueError(f"a pool has at least 0 items, not {max_size!r}")
        by, self._max_size = max_size - self._max_size, max_size
        self._slots.resize(by)
        while len(self._idle) > self.free():
            self.dispose(self._idle.pop())

    def free(self) -> int:
        """How many could be taken now, made already or not."""
        return max(0, self._slots.balance)

    def idle(self) -> int:
        """How many items are there that nobody uses."""
        return len(self._idle)

    def waiting(self) -> int:
        """How many wait in `get`."""
        return self._slots.waiting


class Token:
    """Stands for the right to do something."""


class TokenPool(Pool[Token]):
    """A pool of tokens: at most ``max_size`` at a time hold one."""

    def create(self) -> Token:
        """Make a token."""
        return Token()
