"""What differs in the module ``_thread``: threads are green threads, and locks and thread-locals theirs.

Facts this rests on (CPython's ``Lib/threading.py`` and ``Modules/_threadmodule.c``):

- Up to Python 3.12 ``threading`` learns of a thread's end by a lock, made by ``_set_sentinel`` in the thread itself,
  that is released when the thread's state is deleted. Since 3.13 a ``_ThreadHandle`` knows, and ``_shutdown`` joins.
- ``threading`` runs its after-fork code before any of ours, and asserts that every thread but the one that forked has
  ended.

What this means for us: a green thread carries its sentinel or handle, and a handle knows its process by itself.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from _thread import TIMEOUT_MAX
from collections.abc import Callable, Mapping
from functools import partial
from sys import is_finalizing
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve import _originals
from greenserve.core import locals as green_locals
from greenserve.core.hub import Hub, get_hub
from greenserve.core.timers import Handle
from greenserve.green._parking import find_hub, give_way
from greenserve.net.parking import BURST
from greenserve.sync import events, locks

__all__ = [
    "Lock",
    "MockLock",
    "RLock",
    "Sentinel",
    "ThreadHandle",
    "acting_as_main",
    "count",
    "get_ident",
    "get_main_thread_ident",
    "local",
    "make_thread_handle",
    "set_sentinel",
    "shutdown",
    "start_joinable_thread",
    "start_new_thread",
]


def _check_timeout(timeout: float) -> float:
    if timeout > TIMEOUT_MAX:
        raise OverflowError(f"timeout value {timeout!r} is too large: up to {TIMEOUT_MAX} seconds")
    return timeout


def _give_way() -> None:
    hub = find_hub()
    if hub is not None:
        give_way(hub)


class Lock(locks.Lock):
    """``threading.Lock``."""

    __slots__ = ("_burst",)
    # What is sent to another process by name, as multiprocessing's managers do, is found there, patched or not.
    __module__ = "_thread"
    __qualname__ = "allocate_lock"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        raise TypeError("type '_thread.lock' is not an acceptable base type: let your class have a lock")

    def __init__(self) -> None:
        super().__init__()
        self._burst = 0  # calls since the clock was looked at

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """Take the lock. False when it can't be had within ``timeout`` seconds, -1 for ever. May switch.

        Raises:
            ValueError: ``timeout`` is negative but not -1, or was given although ``blocking`` is false.
            OverflowError: It is more than ``threading.TIMEOUT_MAX``.
        """
        self._burst += 1
        if self._burst > BURST:
            # Whoever asks a queue or an event again and again, without waiting, must not keep the others from running.
            self._burst = 0
            _give_way()
        if timeout != -1:
            _check_timeout(timeout)  # type: ignore[arg-type]  # None is an error, as everything that is no number
        return super().acquire(blocking, timeout)

    __enter__ = acquire

    acquire_lock = acquire
    release_lock = locks.Lock.release
    locked_lock = locks.Lock.locked

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} _thread.lock object at {id(self):#x}>"


class Sentinel(locks.Lock):
    """The lock by which ``threading`` learns of a thread's end, up to Python 3.12.

    It is handed to nobody: once let go it is free, also while others wait, and those try again. Whoever has let it go
    asserts that it is free.
    """

    __slots__ = ("_interrupted",)

    def __init__(self) -> None:
        super().__init__()
        self._interrupted: greenlet | None = None

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """As `Lock.acquire`. May switch."""
        if timeout != -1:
            _check_timeout(timeout)  # type: ignore[arg-type]  # None is an error, as everything that is no number
        return super().acquire(blocking, timeout)

    def release(self) -> None:
        """Leave the lock free. From anywhere, and never blocks.

        Raises:
            RuntimeError: It is not locked.
        """
        if self._free:
            raise RuntimeError("release unlocked lock")
        self._free.append(None)  # atomic: list.append
        self._queue.wake_all()

    def locked(self) -> bool:
        """Whether somebody has it. No, for the one whose wait an exception has just ended.

        ``Thread.join`` asks then, and where it is locked takes the thread for one that has ended.
        """
        if self._interrupted is not None and self._interrupted is getcurrent():
            self._interrupted = None
            return False
        return super().locked()

    def _wait(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else _originals.monotonic() + timeout
        while not self._take():
            left = None if deadline is None else deadline - _originals.monotonic()
            if left is not None and left <= 0:
                return False
            waiter = self._queue.enter()
            if not self._free:
                try:
                    # Who is woken was given nothing: there is nothing to pass on.
                    self._queue.finish(waiter, left, int)
                except BaseException:
                    self._interrupted = getcurrent()
                    raise
            else:
                self._queue.leave(waiter)
        return True


class RLock(locks.RLock):
    """``threading.RLock``."""

    __slots__ = ()
    __module__ = "_thread"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The original takes any arguments, and threading warns of them.
        super().__init__()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """As `Lock.acquire`; whoever holds it takes it once more. May switch."""
        if timeout != -1:
            _check_timeout(timeout)  # type: ignore[arg-type]  # None is an error, as everything that is no number
        try:
            return super().acquire(blocking, timeout)
        except RuntimeError:
            if is_finalizing():
                return True  # a finalizer at the interpreter's end: greenlets are over, and so is everybody else
            raise

    __enter__ = acquire

    def release(self) -> None:
        """As ``threading.RLock.release``."""
        try:
            super().release()
        except RuntimeError:
            if not is_finalizing():
                raise

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def _release_save(self) -> Any:
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        return super()._release_save()

    def _recursion_count(self) -> int:
        return self._holder["hold"].count if self._is_owned() else 0

    def __repr__(self) -> str:
        hold = self._holder.get("hold")
        state, owner, held = ("unlocked", 0, 0) if hold is None else ("locked", _ident_of(hold.owner), hold.count)
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return f"<{state} {name} object owner={owner} count={held} at {id(self):#x}>"


class MockLock(RLock):
    """The lock that ``unittest.mock`` takes when a mock is asked for what it has. Others get a turn by it.

    A mock stands for something that may have waited, such as the selector of a loop.
    """

    __slots__ = ()

    def acquire(self, blocking: bool = True, timeout: float | None = -1) -> bool:
        """As `RLock.acquire`. May switch."""
        if not self._is_owned():
            _give_way()
        return super().acquire(blocking, timeout)

    __enter__ = acquire


class local(green_locals.local):  # noqa: N801 - the name of threading.local, for which it stands
    """``threading.local``."""

    __slots__ = ()
    __module__ = "_thread"
    __qualname__ = "_local"


# Identity -----------------------------------------------------------------------------------------------------------


# Those that run a signal handler just now: it is the main thread's, wherever it runs.
acting_as_main: list[greenlet] = []


def _ident_of(thread: greenlet) -> int:
    # The main greenlet of an OS thread is that thread: its number is the system's.
    if thread.parent is None:
        return _originals.get_ident()
    if acting_as_main and thread in acting_as_main:
        return get_main_thread_ident() or 0
    return id(thread)


def get_ident() -> int:
    """Return a number that no other thread has that is alive, green or native."""
    return _ident_of(getcurrent())


class _Main:
    """Who the main thread is: the first one, or in a forked child the one that forked."""

    __slots__ = ("ident", "process")

    def __init__(self, ident: int | None) -> None:
        self.ident = ident
        self.process = os.getpid()


_main = _Main(threading.main_thread().ident)


get_ident.__module__ = "_thread"


def get_main_thread_ident() -> int | None:
    """Return the number of the main thread."""
    if _main.process != os.getpid():  # the first to ask is the after-fork code, in the thread that forked
        _main.process = os.getpid()  # first: who forked in a signal handler, and acts as main, asks here who it is
        _main.ident = get_ident()
    return _main.ident


# Threads ------------------------------------------------------------------------------------------------------------


class _Thread(greenlet):
    """A green thread that was started as a thread."""

    __slots__ = ("daemon", "handle", "sentinel")

    def __init__(self, hub: Hub, function: Callable[[], Any], handle: ThreadHandle | None, daemon: bool) -> None:
        super().__init__(partial(_run, function), hub.greenlet)
        self.handle = handle
        self.daemon = daemon
        self.sentinel: Sentinel | None = None


# Those that are alive, as native threads are, whether anybody knows them or not.
_alive: set[_Thread] = set()

# What the parent's threads hold stays referenced in a forked child: a greenlet that is collected while it is parked
# runs its ``finally`` blocks, and those belong to the parent.
_left_behind: list[_Thread] = []


def _run(function: Callable[[], Any]) -> None:
    thread = getcurrent()
    assert isinstance(thread, _Thread)
    try:
        function()
    except (SystemExit, GreenletExit):
        pass  # how a thread ends itself, or is killed
    except BaseException as exc:  # noqa: BLE001 - the edge of a thread: nobody above it would see this
        _report(exc, function)
    finally:
        _alive.discard(thread)
        if thread.sentinel is not None and thread.sentinel.locked():
            thread.sentinel.release()
        if thread.handle is not None:
            thread.handle._set_done()


# What sys.unraisablehook takes has no public name.
_hook_args: Any = next(kind for kind in tuple.__subclasses__() if kind.__name__ == "UnraisableHookArgs")

_REPORT = "Exception ignored in thread started by"
# Since this version the text has the function, and the hook gets no object.
_IN_TEXT = sys.version_info >= (3, 13)


def _report(exc: BaseException, function: object) -> None:
    what = function.func if isinstance(function, partial) else function
    said = (f"{_REPORT} {what!r}", None) if _IN_TEXT else (_REPORT, what)
    sys.unraisablehook(_hook_args((type(exc), exc, exc.__traceback__, *said)))


def _start(function: Callable[[], Any], handle: ThreadHandle | None, daemon: bool) -> int:
    hub = get_hub()
    thread = _Thread(hub, function, handle, daemon)
    if handle is not None:
        handle._set_thread(thread)
    _alive.add(thread)
    hub.schedule(Handle(thread.switch))
    return id(thread)


def start_new_thread(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, /
) -> int:
    """Run ``function(*args, **kwargs)`` in a green thread, from the next round on. Returns its number.

    What it raises goes to ``sys.unraisablehook``, except SystemExit.
    """
    if not callable(function):
        raise TypeError("first arg must be callable")
    if not isinstance(args, tuple):
        raise TypeError("2nd arg must be a tuple")
    if kwargs is not None and not isinstance(kwargs, dict):
        raise TypeError("optional 3rd arg must be a dictionary")
    sys.audit("_thread.start_new_thread", function, args, kwargs)
    return _start(partial(function, *args, **(kwargs or {})), None, True)


def count() -> int:
    """Return how many threads there are beside the main one."""
    return len(_alive)


# Up to Python 3.12 --------------------------------------------------------------------------------------------------


def set_sentinel() -> Sentinel:
    """Return a lock that is released when the current thread ends."""
    lock = Sentinel()
    current = getcurrent()
    if isinstance(current, _Thread):
        current.sentinel = lock
    return lock


# Since Python 3.13 --------------------------------------------------------------------------------------------------


class ThreadHandle:
    """``_thread._ThreadHandle``: whether a thread has ended, and waiting for that."""

    __slots__ = ("__weakref__", "_ended", "_ident", "_process", "_thread")

    def __init__(self) -> None:
        self._ended: events.Event[None] = events.Event()
        self._ident = 0
        # Weak: the stand-in of a thread has a handle, and must not keep the thread.
        self._thread: weakref.ref[greenlet] | None = None  # None: not started
        self._process = os.getpid()

    @property
    def ident(self) -> int:
        """The thread's number, or 0 before it was started."""
        return self._ident

    def _set_thread(self, thread: greenlet) -> None:
        self._thread = weakref.ref(thread)
        self._ident = _ident_of(thread)

    def is_done(self) -> bool:
        """Whether the thread has ended. In a forked child every thread has but the one that forked."""
        if self._process != os.getpid() and self._thread is not None:
            if self._thread() is not getcurrent():
                return True
            self._process = os.getpid()
        return self._ended.ready()

    def _set_done(self) -> None:
        if self._thread is None:
            raise RuntimeError("thread not started")
        if not self._ended.ready():
            self._ended.send()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the thread, up to ``timeout`` seconds. May switch.

        Raises:
            RuntimeError: It was not started, or it is the caller.
        """
        if timeout is not None and timeout < 0:
            timeout = None
        if timeout is not None:
            _check_timeout(timeout)
        if self._thread is None and not self._ended.ready():
            raise RuntimeError("thread not started")
        if self._thread is not None and self._thread() is getcurrent() and not self.is_done():
            raise RuntimeError("Cannot join current thread")
        if not self.is_done():
            self._ended.wait(timeout)

    def __repr__(self) -> str:
        return f"<_ThreadHandle object: ident={self.ident}>"


def make_thread_handle(ident: int) -> ThreadHandle:
    """Return a handle for the current thread, which was not started by `start_joinable_thread`."""
    handle = ThreadHandle()
    handle._set_thread(getcurrent())
    handle._ident = ident
    return handle


def start_joinable_thread(
    function: Callable[[], Any], handle: ThreadHandle | None = None, daemon: bool = True
) -> ThreadHandle:
    """Run ``function()`` in a green thread, from the next round on. `shutdown` waits for it unless ``daemon``.

    Raises:
        RuntimeError: ``handle`` belongs to another thread already.
    """
    if not callable(function):
        raise TypeError("thread function must be callable")
    if handle is None:
        handle = ThreadHandle()
    elif not isinstance(handle, ThreadHandle):
        raise TypeError("'handle' must be a _ThreadHandle")
    elif handle._thread is not None or handle._ended.ready():
        raise RuntimeError("thread already started")
    sys.audit("_thread.start_joinable_thread", function, daemon, handle)
    _start(function, handle, daemon)
    return handle


def shutdown() -> None:
    """Wait for all threads that are no daemons. May switch."""
    while waiting := [each.handle for each in _alive if not each.daemon and each is not getcurrent()]:
        for handle in waiting:
            if handle is not None:
                handle.join()
    if _originals.end_native_threads is not None:
        _originals.end_native_threads()


# fork ---------------------------------------------------------------------------------------------------------------


def _after_fork_in_child() -> None:
    get_main_thread_ident()  # threading has asked already, unless it is patched in the child alone
    current = getcurrent()
    for thread in list(_alive):
        if thread is current:
            if thread.handle is not None:
                thread.handle._process = os.getpid()
            continue
        _left_behind.append(thread)
        _alive.discard(thread)
        if thread.handle is not None:
            thread.handle._set_done()


os.register_at_fork(after_in_child=_after_fork_in_child)
