"""Queues between green threads and between OS threads, first come first served at both ends. Knows semaphores; no hub.

A queue is a container and two semaphores: one has a permit for each item, the other a slot for each free place. A
getter takes a permit, then an item; a putter takes a slot, then adds an item. What a waiter is given is the right to
act, not the item: that stays in its place until the getter runs, so that a kill loses nothing and changes no order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from queue import Empty, Full

from greenserve._originals import allocate_lock
from greenserve._typing import Any, Generic, TypeVar
from greenserve.core.waiters import WaitQueue
from greenserve.sync.semaphores import Semaphore, Slots

__all__ = ["Empty", "Full", "LifoQueue", "LightQueue", "PriorityQueue", "Queue"]

T = TypeVar("T")


def _check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout``. Raises ValueError, as the standard library's queues do."""
    # Not before it comes to waiting: what need not wait is to cost nothing more.
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be None or at least 0 seconds, not {timeout!r}")
    return timeout


class LightQueue(Generic[T]):
    """Items, first in first out.

    Args:
        maxsize: How many items it holds before `put` waits; None or negative: any number. With 0 it is a channel: `put`
            waits until a getter has come for the item.
    """

    __slots__ = ("__weakref__", "_add", "_items", "_maxsize", "_pop", "_slots", "_unfinished")

    # One for each item that somebody still has to call done, so that a count is one atomic step; None counts nothing.
    _unfinished: list[None] | None

    def __init__(self, maxsize: int | None = None) -> None:
        if maxsize is not None and maxsize < 0:
            maxsize = None
        self._maxsize = maxsize
        self._items = Semaphore(0)
        self._slots = None if maxsize is None else Slots(maxsize)
        self._add, self._pop = self._make_container()
        self._unfinished = None

    def _make_container(self) -> tuple[Callable[[T], Any], Callable[[], T]]:
        """Return what adds an item and what takes the next one out. Either is one step for other OS threads."""
        items: deque[T] = deque()
        return items.append, items.popleft

    @property
    def maxsize(self) -> int | None:
        """How many items it holds, or None."""
        return self._maxsize

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Add ``item``. May switch, while there is no room.

        Raises:
            Full: There is no room within ``timeout`` seconds, or now unless ``block``.
            ValueError: ``timeout`` is negative, where it comes to waiting.
        """
        slots = self._slots
        # Here and in get(), Semaphore's acquire and release are written out: the calls would double the cost.
        if slots is not None:
            try:
                slots._free.pop()  # atomic: list.pop
            except IndexError:
                if not (slots._take() or (block and slots._wait(_check_timeout(timeout)))):
                    raise Full from None
        try:
            self._add(item)
        except BaseException:  # items that can't be compared
            if slots is not None:
                slots.release()
            raise
        if self._unfinished is not None:
            self._unfinished.append(None)  # atomic: list.append
        items = self._items
        if items._queue:
            items.release()
        else:
            items._free.append(None)  # atomic: list.append
            if items._queue:
                items._hand_over()

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the next item out. May switch, while there is none.

        Raises:
            Empty: There is none within ``timeout`` seconds, or now unless ``block``.
            ValueError: ``timeout`` is negative, where it comes to waiting.
        """
        items = self._items
        slots = self._slots
        try:
            items._free.pop()  # atomic: list.pop
        except IndexError:
            if not block:
                raise Empty from None
            _check_timeout(timeout)
        else:
            try:
                return self._pop()
            finally:
                if slots is not None:
                    if slots._queue or slots._owed:
                        slots.release()
                    else:
                        slots._free.append(None)  # atomic: list.append
                        if slots._queue or slots._owed:
                            slots._hand_over()
        if slots is None:
            if not items._wait(timeout):
                raise Empty
            return self._pop()
        # Whoever waits for an item makes room for it at once: in a channel there is no other room.
        slots.release()
        found = False
        try:
            found = items._wait(timeout)
        finally:
            if not found:
                slots.withdraw()
        if not found:
            raise Empty
        return self._pop()

    def put_nowait(self, item: T) -> None:
        """``put(item, block=False)``. Never blocks; from anywhere, also in signal handlers."""
        self.put(item, False)

    def get_nowait(self) -> T:
        """``get(block=False)``. Never blocks."""
        return self.get(False)

    def qsize(self) -> int:
        """How many items can be taken now."""
        return self._items._count_free()

    def empty(self) -> bool:
        """Whether there is no item to take now."""
        return not self.qsize()

    def full(self) -> bool:
        """Whether there are ``maxsize`` items. A channel always is."""
        return self._maxsize is not None and self.qsize() >= self._maxsize

    def putting(self) -> int:
        """How many wait in `put`."""
        return 0 if self._slots is None else self._slots.waiting

    def getting(self) -> int:
        """How many wait in `get`."""
        return self._items.waiting

    def resize(self, maxsize: int | None) -> None:
        """Change how many items it holds; None or negative: any number. Items that are too many by then stay.

        Not from two OS threads at the same time.

        Raises:
            ValueError: It holds any number already: what is under way could not be counted.
        """
        slots = self._slots
        if maxsize is None or maxsize < 0:
            self._maxsize = self._slots = None
            if slots is not None:
                slots.open()
            return
        if slots is None or self._maxsize is None:
            raise ValueError(f"a queue without a limit can't be given one later: {type(self).__name__}({maxsize})")
        slots.resize(maxsize - self._maxsize)
        self._maxsize = maxsize

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {id(self):#x}: {self.qsize()} items of {self._maxsize}, "
            f"{self.putting()} putting, {self.getting()} getting>"
        )


class Queue(LightQueue[T]):
    """A `LightQueue` that knows which items are still being worked on."""

    __slots__ = ("_joiners",)

    _unfinished: list[None]

    def __init__(self, maxsize: int | None = None) -> None:
        super().__init__(maxsize)
        self._unfinished = []
        self._joiners = WaitQueue()

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put for which `task_done` has not been called."""
        return len(self._unfinished)

    def task_done(self) -> None:
        """Say that the work on one item is done.

        Raises:
            ValueError: Said more often than items were put.
        """
        try:
            self._unfinished.pop()  # atomic: list.pop
        except IndexError:
            raise ValueError("task_done() called more often than items were put") from None
        if not self._unfinished:
            self._joiners.wake_all()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the work on every item is done. False when ``timeout`` seconds went by first. May switch."""
        if not self._unfinished:
            return True
        waiter = self._joiners.enter()
        if not self._unfinished:
            self._joiners.leave(waiter)
            return True
        return self._joiners.finish(waiter, timeout)


class LifoQueue(Queue[T]):
    """A `Queue` whose next item is the one that was put last."""

    __slots__ = ()

    def _make_container(self) -> tuple[Callable[[T], Any], Callable[[], T]]:
        items: list[T] = []
        return items.append, items.pop


class PriorityQueue(Queue[T]):
    """A `Queue` whose next item is the smallest. `get` is not for signal handlers and finalizers."""

    __slots__ = ()

    def _make_container(self) -> tuple[Callable[[T], Any], Callable[[], T]]:
        heap: _Heap[T] = _Heap()
        return heap.push, heap.pop


class _Heap(Generic[T]):
    """A heap that several OS threads use. Comparing items may run Python code, so that a lock is needed."""

    __slots__ = ("_heap", "_late", "_lock")

    def __init__(self) -> None:
        self._heap: list[Any] = []  # of T. That its items can be compared is the caller's affair
        self._late: deque[T] = deque()  # came while the lock was held: whoever takes the next item out brings them in
        self._lock = allocate_lock()

    def push(self, item: T) -> None:
        # Who holds the lock may be the very code that a signal handler interrupts: never wait for it here.
        if not self._lock.acquire(False):
            self._late.append(item)  # atomic: deque.append
            return
        try:
            self._insert(item)
        finally:
            self._lock.release()

    def pop(self) -> T:
        with self._lock:
            while self._late:
                self._insert(self._late.popleft())
            item: T = heappop(self._heap)
            return item

    def _insert(self, item: T) -> None:
        heap = self._heap
        try:
            heappush(heap, item)
        except BaseException:
            # It can't be compared with the others, and is among them by now.
            heap[:] = [other for other in heap if other is not item]
            heapify(heap)
            raise
