"""Green threads in bounded number. Knows green threads, semaphores and queues; no hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from greenlet import getcurrent, greenlet

from greenserve._typing import Any, Generic, TypeVar
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.waiters import WaitQueue
from greenserve.sync.events import Event
from greenserve.sync.queues import LightQueue
from greenserve.sync.semaphores import Semaphore, Slots

__all__ = ["GreenPile", "GreenPool"]

T = TypeVar("T")


class GreenPool:
    """Runs functions in at most ``size`` green threads at a time.

    What a pool's own green thread spawns into the full pool runs at once, while the caller waits for it: to wait for a
    free place would be to wait for itself.

    Raises:
        TypeError: ``size`` is no number.
        ValueError: ``size`` is negative.
    """

    __slots__ = ("__weakref__", "_idle", "_running", "_size", "_slots")

    def __init__(self, size: int = 1000) -> None:
        try:
            is_negative = size < 0
        except TypeError as exc:
            raise TypeError(f"GreenPool({size!r}): give a number of green threads, such as GreenPool(1000)") from exc
        if is_negative:
            raise ValueError(f"a pool has at least 0 places, not {size!r}")
        self._size = size
        self._slots = Slots(size)
        self._running: set[greenlet] = set()
        self._idle = WaitQueue()  # whoever waits for the pool to be empty

    @property
    def size(self) -> int:
        """How many green threads run at a time."""
        return self._size

    def spawn(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> GreenThread[T]:
        """Run ``function(*args, **kwargs)`` in a green thread. May switch, while the pool is full."""
        return self._spawn(self._is_inside(), function, args, kwargs)

    def spawn_n(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """As `spawn`, where nobody wants the result. May switch, while the pool is full."""
        self._spawn(self._is_inside(), function, args, kwargs)

    def _spawn(
        self, from_inside: bool, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> GreenThread[T]:
        if self._slots.acquire(blocking=not from_inside):
            return self._start(self._slots.release, function, args, kwargs)
        # The caller's own place is lent to the new one.
        ended: Event[None] = Event()
        thread = self._start(ended.send, function, args, kwargs)
        try:
            ended.wait()
        except BaseException:
            thread.kill()
            raise
        return thread

    def _start(
        self, release: Callable[[], Any], function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> GreenThread[T]:
        thread = spawn(function, *args, **kwargs)
        self._running.add(thread)
        thread.link(self._ended, release)
        return thread

    def _ended(self, thread: GreenThread[Any], release: Callable[[], Any]) -> None:
        self._running.discard(thread)
        release()
        if not self._running:
            self._idle.wake_all()

    def _is_inside(self) -> bool:
        return getcurrent() in self._running

    def waitall(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs here. False when ``timeout`` seconds went by first. May switch.

        Raises:
            RuntimeError: Called from one of the pool's own green threads, which would wait for itself.
        """
        if self._is_inside():
            raise RuntimeError("waitall() from a green thread of the same pool would wait for itself")
        if not self._running:
            return True
        waiter = self._idle.enter()
        if not self._running:
            self._idle.leave(waiter)
            return True
        return self._idle.finish(waiter, timeout)

    def starmap(self, function: Callable[..., T] | None, iterable: Iterable[Iterable[Any]]) -> Iterator[T]:
        """Yield ``function(*args)`` for each ``args`` of ``iterable``, in order, computed side by side.

        It starts at once, and stays at most ``size`` results ahead of who takes them, which may switch. An exception
        comes in the place of its result, and the next result after it. Dropping the iterator ends the work. Without a
        function the arguments come back as tuples.
        """
        return _Results(self, function or _as_tuple, iter(iterable))

    def imap(self, function: Callable[..., T] | None, /, *iterables: Iterable[Any]) -> Iterator[T]:
        """As `starmap`, with an argument from each of ``iterables``, until the shortest ends."""
        return self.starmap(function, zip(*iterables))

    def resize(self, size: int) -> None:
        """Change how many run at a time. What runs goes on; new ones wait until there is room.

        Raises:
            ValueError: ``size`` is negative.
        """
        if size < 0:
            raise ValueError(f"a pool has at least 0 places, not {size!r}")
        by, self._size = size - self._size, size
        self._slots.resize(by)

    def free(self) -> int:
        """How many could be spawned now without waiting."""
        return max(0, self._slots.balance)

    def running(self) -> int:
        """How many green threads of the pool have not ended."""
        return len(self._running)

    def waiting(self) -> int:
        """How many wait for a place in `spawn` or `spawn_n`."""
        return self._slots.waiting

    def __repr__(self) -> str:
        counts = f"{self.running()} of {self._size} running, {self.waiting()} waiting"
        return f"<{type(self).__name__} at {id(self):#x}: {counts}>"


def _as_tuple(*args: Any) -> Any:
    return args


class _Feed(Generic[T]):
    """What a `_Results` iterator and the green thread that feeds it share. The feeder does not hold the iterator."""

    __slots__ = ("abandoned", "threads", "window")

    def __init__(self, ahead: int) -> None:
        # In order. An exception is the end: the iterable's own, or StopIteration.
        self.threads: LightQueue[GreenThread[T] | BaseException] = LightQueue()
        self.window = Semaphore(ahead)
        self.abandoned = False

    def run(
        self, pool: GreenPool, from_inside: bool, function: Callable[..., T], calls: Iterator[Iterable[Any]]
    ) -> None:
        try:
            while True:
                self.window.acquire()
                if self.abandoned:
                    return
                self.threads.put(pool._spawn(from_inside, function, tuple(next(calls)), {}))
        except BaseException as exc:  # noqa: BLE001 - raised in whoever takes the results
            self.threads.put(exc)


class _Results(Generic[T]):
    """Results in the order of their calls, while the calls run side by side."""

    __slots__ = ("_end", "_feed")

    def __init__(self, pool: GreenPool, function: Callable[..., T], calls: Iterator[Iterable[Any]]) -> None:
        self._end: BaseException | None = None
        self._feed: _Feed[T] = _Feed(max(1, pool.size))
        spawn(self._feed.run, pool, pool._is_inside(), function, calls)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next result, or what its call raised. May switch."""
        if self._end is not None:
            raise StopIteration
        thread = self._feed.threads.get()
        if isinstance(thread, BaseException):
            self._end = thread
            raise thread
        self._feed.window.release()
        return thread.wait()

    def __del__(self) -> None:
        self._feed.abandoned = True
        self._feed.window.release()


class GreenPile(Generic[T]):
    """Calls that run side by side, whose results are iterated in the order of their spawning.

    Args:
        size_or_pool: The `GreenPool` to run them in, or the size of a new one.
    """

    __slots__ = ("__weakref__", "_open", "_threads", "pool")

    def __init__(self, size_or_pool: int | GreenPool = 1000) -> None:
        self.pool = size_or_pool if isinstance(size_or_pool, GreenPool) else GreenPool(size_or_pool)
        self._threads: LightQueue[GreenThread[T] | None] = LightQueue()
        self._open: list[
            None
        ] = []  # one for each call, from before it may wait for a place until a taker wants its result

    def spawn(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> None:
        """Run ``function(*args, **kwargs)``. May switch, while the pool is full."""
        self._open.append(None)
        thread = None
        try:
            thread = self.pool.spawn(function, *args, **kwargs)
        finally:
            # None, should waiting for a place be interrupted: a taker may wait for this result already.
            self._threads.put(thread)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next result, or what its call raised. Ends when every result was taken. May switch."""
        while True:
            try:
                self._open.pop()
            except IndexError:
                raise StopIteration from None
            try:
                thread = self._threads.get()
            except BaseException:
                self._open.append(None)
                raise
            if thread is not None:
                return thread.wait()

    def next(self) -> T:
        """``next(pile)``."""
        return next(self)
