"""``eventlet.greenpool``: pools whose parts (``sem``, ``coroutines_running``) others read and turn."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve.compat.eventlet._face import event, greenthread, queue, semaphore

__all__ = ["GreenMap", "GreenPile", "GreenPool"]

# Whether what a function of `GreenPool.spawn_n` raises is printed; `debug.hub_exceptions` sets it.
DEBUG = True


class GreenPool:
    """Runs functions in at most ``size`` green threads at a time.

    What one of its own green threads spawns into the full pool runs in that green thread, at once.

    Attributes:
        size: How many run at a time.
        sem: A permit for each place that is free.
        coroutines_running: The green threads that have not ended.
        no_coros_running: Sent when the last of them has.
    """

    def __init__(self, size: int = 1000) -> None:
        try:
            size = int(size)
        except ValueError as exc:
            raise TypeError(f"GreenPool() expect size :: int, actual: {type(size)} {exc}") from None
        if size < 0:
            raise ValueError(f"GreenPool() expect size >= 0, actual: {size!r}")
        self.size = size
        self.coroutines_running: set[greenlet] = set()
        self.sem = semaphore.Semaphore(size)
        self.no_coros_running = event.Event()

    def resize(self, new_size: int) -> None:
        """Change how many run at a time. What runs goes on."""
        self.sem.counter += new_size - self.size
        self.size = new_size

    def running(self) -> int:
        """How many have not ended."""
        return len(self.coroutines_running)

    def free(self) -> int:
        """How many could be spawned now without waiting; negative after the pool was made smaller than what runs."""
        return self.sem.counter

    def waiting(self) -> int:
        """How many wait to spawn."""
        return self.sem.waiting

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> greenthread.GreenThread:
        """Run ``function(*args, **kwargs)`` in a green thread. May switch, while the pool is full."""
        current = getcurrent()
        if self.sem.locked() and current in self.coroutines_running:
            borrowed = greenthread.GreenThread(current)
            try:
                borrowed.main(function, args, kwargs)
            except Exception:  # noqa: BLE001 - whoever waits for the result gets it
                if DEBUG:
                    traceback.print_exc()
            return borrowed
        self.sem.acquire()
        thread = greenthread.spawn(function, *args, **kwargs)
        self._enter(thread)
        thread.link(self._spawn_done)
        return thread

    def spawn_n(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """As `spawn`, where nobody wants the result. May switch, while the pool is full."""
        if self.sem.locked() and getcurrent() in self.coroutines_running:
            self._spawn_n_impl(function, args, kwargs, None)
            return
        self.sem.acquire()
        self._enter(greenthread.spawn_n(self._spawn_n_impl, function, args, kwargs, True))

    def _enter(self, thread: greenlet) -> None:
        if not self.coroutines_running:
            self.no_coros_running = event.Event()
        self.coroutines_running.add(thread)

    def _spawn_n_impl(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], coro: bool | None
    ) -> None:
        try:
            func(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit, GreenletExit):
            raise
        except BaseException:  # noqa: BLE001 - the edge of a green thread
            if DEBUG:
                traceback.print_exception(*sys.exc_info())
        finally:
            if coro is not None:
                self._spawn_done(getcurrent())

    def _spawn_done(self, coro: greenlet) -> None:
        self.sem.release()
        self.coroutines_running.discard(coro)
        if not self.coroutines_running and not self.no_coros_running.ready():
            self.no_coros_running.send(None)

    def waitall(self) -> None:
        """Wait until nothing runs here. May switch.

        Raises:
            AssertionError: Called from one of the pool's own green threads.
        """
        assert getcurrent() not in self.coroutines_running, (
            "Calling waitall() from within one of the GreenPool's greenthreads will never terminate."
        )
        while self.running():
            self.no_coros_running.wait()

    def starmap(self, function: Callable[..., Any] | None, iterable: Iterable[Iterable[Any]]) -> GreenMap:
        """Iterate over ``function(*args)`` for each ``args``, in order, computed side by side."""
        results = GreenMap(self.size)
        greenthread.spawn_n(self._do_map, function or _as_tuple, iterable, results)
        return results

    def imap(self, function: Callable[..., Any] | None, *iterables: Iterable[Any]) -> GreenMap:
        """As `starmap`, with an argument from each of ``iterables``."""
        return self.starmap(function, zip(*iterables))

    def _do_map(self, func: Callable[..., Any], it: Iterable[Iterable[Any]], gi: GreenMap) -> None:
        for args in it:
            gi.spawn(func, *args)
        gi.done_spawning()


def _as_tuple(*args: Any) -> tuple[Any, ...]:
    return args


class GreenPile:
    """Calls that run side by side, whose results are iterated in the order of their spawning."""

    def __init__(self, size_or_pool: int | GreenPool = 1000) -> None:
        self.pool = size_or_pool if isinstance(size_or_pool, GreenPool) else GreenPool(size_or_pool)
        self.waiters = queue.LightQueue()
        self.counter = 0

    def spawn(self, func: Callable[..., Any], *args: Any, **kw: Any) -> None:
        """Run ``func(*args, **kw)``. May switch, while the pool is full."""
        self.counter += 1
        try:
            self.waiters.put(self.pool.spawn(func, *args, **kw))
        except BaseException:
            self.counter -= 1
            raise

    def __iter__(self) -> Iterator[Any]:
        return self

    def next(self) -> Any:
        """The next result, or what its call raised. May switch.

        Raises:
            StopIteration: Every result was taken.
        """
        if not self.counter:
            raise StopIteration
        return self._next()

    def __next__(self) -> Any:
        return self.next()

    def _next(self) -> Any:
        try:
            return self.waiters.get().wait()
        finally:
            self.counter -= 1


class GreenMap(GreenPile):
    """A pile that stays at most a pool's size ahead of who takes its results, and is told when there are no more."""

    def __init__(self, size_or_pool: int | GreenPool) -> None:
        super().__init__(size_or_pool)
        self.waiters = queue.LightQueue(maxsize=self.pool.size)

    def done_spawning(self) -> None:
        """Say that this was all."""
        self.spawn(StopIteration)

    def next(self) -> Any:
        """The next result, or what its call raised. May switch."""
        value = self._next()
        if isinstance(value, StopIteration):
            raise value
        return value
