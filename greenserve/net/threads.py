"""Native threads for calls that block and can't be made to wait in the hub. Knows no sockets.

One pool for the process. Its threads are started when there is something to do, are never joined, and leave after
`_IDLE_SECONDS` without work. After ``fork`` the child starts anew, since only the thread that forked lives on there.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

from greenserve._log import get_logger
from greenserve._originals import allocate_lock, start_new_thread, thread_local
from greenserve._typing import Any, ParamSpec, TypeVar, cast
from greenserve.core.waiters import NativeWaiter, Waiter, new_waiter
from greenserve.errors import SettingError

__all__ = ["PoolUse", "Proxy", "execute", "killall", "pool_use", "set_num_threads"]

log = get_logger("greenserve.net")

P = ParamSpec("P")
T = TypeVar("T")

_SIZE_VARIABLE = "GREENSERVE_THREADPOOL_SIZE"
_DEFAULT_SIZE = 20
_IDLE_SECONDS = 10.0


class _Job:
    """One call, made in a native thread, and whoever waits for it."""

    __slots__ = ("_call", "_error", "_result", "_waiter")

    def __init__(self, call: Callable[[], Any], waiter: Waiter | NativeWaiter) -> None:
        self._call: Callable[[], Any] | None = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._waiter = waiter

    def run(self) -> None:
        """Make the call, unless it was abandoned before its turn. In a native thread."""
        call, self._call = self._call, None
        if call is None:
            return
        try:
            self._result = call()
        except BaseException as exc:  # the caller's, whatever it is
            self._error = exc
            if self._waiter.fire is None:
                log.debug("%r failed when nobody waited for it any more", call, exc_info=exc)
        self._waiter.notify()

    def wait(self) -> Any:
        """Park until the call has returned, and return or raise what it did. May switch."""
        waiter = self._waiter
        try:
            if isinstance(waiter, Waiter):
                waiter.hub.native_calls += 1
                try:
                    waiter.park()
                finally:
                    waiter.hub.native_calls -= 1
            else:
                waiter.park()
        except BaseException:
            self._call = None
            raise
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this frame
        return self._result

    def __repr__(self) -> str:
        return f"<a call in a native thread: {self._call or 'it runs, or has ended'}>"


class _IdleThread:
    """A native thread with nothing to do: it waits for ``wake``, then takes ``job``; None tells it to leave."""

    __slots__ = ("job", "wake")

    def __init__(self, job: _Job | None = None) -> None:
        self.job = job
        self.wake = allocate_lock()
        self.wake.acquire()

    def take(self) -> _Job | None:
        job, self.job = self.job, None
        return job


class _Here(thread_local):
    """What an OS thread knows of itself."""

    is_ours = False


_here = _Here()


class _Pool:
    """Native threads, as many as ``size``. Every method may be called from any OS thread."""

    def __init__(self) -> None:
        self._size: int | None = None
        self._generation = 0
        self.forget()

    def forget(self) -> None:
        """Begin without threads and jobs. In a forked child none of the parent's exist."""
        self._lock = allocate_lock()
        self._jobs: deque[_Job] = deque()
        self._idle: list[_IdleThread] = []  # the last one is used first, so that those not needed grow old
        self._count = 0  # threads that may still take a job
        self._generation += 1  # whoever forked in a thread of ours does not go on as one

    @property
    def size(self) -> int:
        """How many threads there may be. 0: calls are made in the caller's own thread."""
        if self._size is None:
            self._size = _size_from_environment()
        return self._size

    def use(self) -> PoolUse:
        with self._lock:
            return PoolUse(self._count - len(self._idle), self.size, len(self._jobs))

    def resize(self, size: int) -> None:
        """Change the size. Threads that are too many leave after what they run; those missing start if calls wait."""
        with self._lock:
            self._size = size
            self._dismiss(self._count - size)
            waiting = [self._jobs.popleft() for _ in range(min(len(self._jobs), size - self._count))]
        for job in waiting:
            self.submit(job)

    def dismiss_all(self) -> None:
        """Let all threads leave once no call waits. The next call starts new ones."""
        with self._lock:
            self._generation += 1
            self._dismiss(self._count)

    def submit(self, job: _Job) -> None:
        """Have ``job`` run by the next thread that is free.

        Raises:
            RuntimeError: The system gives no thread, and there is none yet.
        """
        size = self.size
        with self._lock:
            if self._idle:
                idle = self._idle.pop()
                idle.job = job
                idle.wake.release()
                return
            if self._count >= size:
                self._jobs.append(job)
                return
            self._count += 1
        try:
            # In a box that it empties: a native thread keeps its arguments for as long as it runs.
            start_new_thread(self._run, (_IdleThread(job), self._generation))
        except RuntimeError:
            with self._lock:
                self._count -= 1
                if not self._count:
                    raise
                self._jobs.append(job)

    def _dismiss(self, count: int) -> None:
        # The lock is held.
        for _ in range(min(count, len(self._idle))):
            self._count -= 1
            self._idle.pop(0).wake.release()

    def _run(self, thread: _IdleThread, generation: int) -> None:
        """What a native thread runs."""
        _here.is_ours = True
        job = thread.take()
        while job is not None:
            job.run()
            del job  # an idle thread keeps nothing of its last call alive
            job = self._next(generation)

    def _next(self, generation: int) -> _Job | None:
        """Wait for the next job of this thread. None: it has left."""
        idle = _IdleThread()
        with self._lock:
            # Whoever leaves is no longer counted from the same moment on: a job can't be left to a thread that goes.
            if self._count > max(self.size, 1):
                self._count -= 1
                return None
            if self._jobs:
                return self._jobs.popleft()
            if generation != self._generation or not self.size:
                self._count -= 1
                return None
            self._idle.append(idle)
        if not idle.wake.acquire(True, _IDLE_SECONDS):
            with self._lock:
                if idle in self._idle:
                    self._idle.remove(idle)
                    self._count -= 1
                    return None
            idle.wake.acquire()  # it was given a job, or dismissed, at the last moment
        return idle.take()


def _size_from_environment() -> int:
    text = os.environ.get(_SIZE_VARIABLE) or str(_DEFAULT_SIZE)
    if not (text.isascii() and text.isdigit()):
        raise SettingError(f"{_SIZE_VARIABLE}={text!r} is not a number of threads: 0 or more, such as {_DEFAULT_SIZE}")
    return int(text)


_pool = _Pool()
os.register_at_fork(after_in_child=_pool.forget)


def execute(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, called in a native thread while other green threads run. May switch.

    What it raises is raised here, with its traceback. When this green thread is killed or times out while it waits, a
    call that has not begun is not made, and the result of one that has is dropped. In a thread of the pool itself, and
    if the pool's size is 0, the call is made at once where it stands.

    Raises:
        SettingError: GREENSERVE_THREADPOOL_SIZE is not a number.
    """
    if _here.is_ours or not _pool.size:
        return function(*args, **kwargs)
    job = _Job(partial(function, *args, **kwargs), new_waiter())
    _pool.submit(job)
    return cast(T, job.wait())


class PoolUse:
    """What the pool of native threads is at: how many of ``size`` threads make a call, and how many calls wait."""

    __slots__ = ("busy", "size", "waiting")

    def __init__(self, busy: int, size: int, waiting: int) -> None:
        self.busy = busy
        self.size = size
        self.waiting = waiting


def pool_use() -> PoolUse:
    """Return what the pool is at now. Starts nothing."""
    return _pool.use()


def set_num_threads(count: int) -> None:
    """Let up to ``count`` calls of `execute` run at once; 0 makes calls where they stand.

    Raises:
        ValueError: ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"set_num_threads({count!r}): a number of threads is 0 or more")
    _pool.resize(count)


def killall() -> None:
    """Let the native threads leave: idle ones at once, the others when no call is left. Does not wait for that."""
    _pool.dismiss_all()


class Proxy:
    """Stands for ``obj``: its methods are called in native threads, so that they may block.

    What is no method is read and set in place.

    Args:
        obj: Any object, such as a database connection or a module.
        autowrap: Classes. What a method returns is wrapped as well if it is an instance of one.
        autowrap_names: Names of methods whose results are wrapped as well, whatever they are.
    """

    # Names that no object is likely to have: every other one is the object's.
    __slots__ = ("_proxy_names", "_proxy_obj", "_proxy_types")

    _proxy_obj: Any
    _proxy_types: tuple[type, ...]
    _proxy_names: frozenset[str]

    def __init__(self, obj: Any, autowrap: tuple[type, ...] = (), autowrap_names: tuple[str, ...] = ()) -> None:
        object.__setattr__(self, "_proxy_obj", obj)
        object.__setattr__(self, "_proxy_types", tuple(autowrap))
        object.__setattr__(self, "_proxy_names", frozenset(autowrap_names))

    def _proxy_call(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = execute(function, *args, **kwargs)
        if isinstance(result, Proxy):
            return result
        if isinstance(result, self._proxy_types) or name in self._proxy_names:
            return Proxy(result, self._proxy_types, tuple(self._proxy_names))
        return result

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._proxy_obj, name)
        if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
            return value  # what a module proxy's errors are caught by is the class itself
        return partial(self._proxy_call, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._proxy_obj, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._proxy_obj, name)

    def __dir__(self) -> list[str]:
        return dir(self._proxy_obj)

    # Python looks these up in the class, past __getattr__.

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._proxy_call("__call__", self._proxy_obj, *args, **kwargs)

    def __enter__(self) -> Any:
        entered = self._proxy_call("__enter__", self._proxy_obj.__enter__)
        return self if entered is self._proxy_obj else entered

    def __exit__(self, *exc_info: object) -> Any:
        return self._proxy_call("__exit__", self._proxy_obj.__exit__, *exc_info)

    def __getitem__(self, key: Any) -> Any:
        return self._proxy_call("__getitem__", self._proxy_obj.__getitem__, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._proxy_call("__setitem__", self._proxy_obj.__setitem__, key, value)

    def __delitem__(self, key: Any) -> None:
        self._proxy_call("__delitem__", self._proxy_obj.__delitem__, key)

    def __contains__(self, item: Any) -> bool:
        return bool(self._proxy_call("__contains__", lambda: item in self._proxy_obj))

    def __iter__(self) -> Iterator[Any]:
        iterator = execute(iter, self._proxy_obj)
        return self if iterator is self._proxy_obj else self._proxy_steps(iterator)

    def _proxy_steps(self, iterator: Iterator[Any]) -> Iterator[Any]:
        while (item := self._proxy_call("__next__", next, iterator, _END)) is not _END:
            yield item

    def __next__(self) -> Any:
        item = self._proxy_call("__next__", next, self._proxy_obj, _END)
        if item is _END:
            raise StopIteration
        return item

    def __len__(self) -> int:
        return cast(int, self._proxy_call("__len__", len, self._proxy_obj))

    def __bool__(self) -> bool:
        return bool(self._proxy_call("__bool__", bool, self._proxy_obj))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Proxy):
            other = other._proxy_obj
        return bool(self._proxy_obj == other)

    def __hash__(self) -> int:
        return hash(self._proxy_obj)

    def __str__(self) -> str:
        return str(self._proxy_obj)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._proxy_obj!r}>"


_END = object()
