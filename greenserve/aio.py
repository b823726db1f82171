"""asyncio in the OS thread of the green threads: a loop that waits in the hub, and ways from each side to the other.

Green code calls coroutines by `await_`, coroutines call green code by `to_green`, and any number of loops run side by
side in one OS thread, each in a green thread of its own. This module knows asyncio's public interface alone; what the
running loop is in each green thread is `greenserve.green`'s to know.

As with OS threads, only the green thread in which a loop runs may touch the loop and its futures. Others use
``call_soon_threadsafe``, even in the same OS thread: nothing else wakes a loop that waits.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar, cast

from greenlet import GreenletExit, getcurrent

from greenserve._log import get_logger
from greenserve._originals import thread_local
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.hub import Hub, get_hub, thread_state
from greenserve.errors import HubError
from greenserve.green._loops import enter_loop, waits_in_hub
from greenserve.green.selectors import DefaultSelector
from greenserve.sync.events import Event

__all__ = ["EventLoop", "await_", "spawn_for_awaitable", "to_green"]

log = get_logger("greenserve.aio")

P = ParamSpec("P")
T = TypeVar("T")


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's loop over selectors, which waits in the hub, so that other green threads go on.

    It runs in the green thread that calls ``run_forever`` or ``run_until_complete``; others of the same OS thread may
    run loops of their own meanwhile. ``asyncio.run(main(), loop_factory=EventLoop)`` is what uses it since Python 3.12,
    ``asyncio.Runner(loop_factory=EventLoop)`` since 3.11. In a patched program asyncio's own loop does the same.

    Args:
        selector: A green one; by default the best that the system has.
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        super().__init__(DefaultSelector() if selector is None else selector)

    def run_forever(self) -> None:
        """Run until ``stop`` is called. May switch."""
        get_hub()  # an OS thread that has none would wait in the system
        super().run_forever()

    def remove_signal_handler(self, sig: int) -> bool:
        """As asyncio's. Signals wake the hub again when no handler of the loop's is left."""
        removed = super().remove_signal_handler(sig)
        hub: Hub | None = getattr(thread_state, "hub", None)
        if removed and hub is not None:
            hub.take_wakeup_fd()
        return removed


# From green threads to coroutines -----------------------------------------------------------------------------------


class _Awaited(Generic[T]):
    """An awaitable on its way through the shared loop, for a green thread that waits for its end."""

    __slots__ = ("_awaitable", "_ended", "_shared", "_task")

    def __init__(self, awaitable: Awaitable[T], shared: _SharedLoop) -> None:
        self._awaitable = awaitable
        self._shared = shared
        self._task: asyncio.Task[T] | None = None
        self._ended: Event[None] = Event()

    def begin(self) -> None:
        """Make it a task. In the loop."""
        awaitable = self._awaitable
        self._task = self._shared.loop.create_task(
            awaitable if isinstance(awaitable, Coroutine) else _as_coroutine(awaitable)
        )
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        self._shared.awaited.discard(self)
        if not self._shared.ending:  # who still waits at the end of the process stays parked, wherever it is
            self._ended.send()

    def result(self) -> T:
        """Return what it comes to, or raise that. May switch."""
        try:
            self._ended.wait()
        except BaseException:
            self.cancel()
            raise
        task = self._task
        assert task is not None
        try:
            return task.result()
        finally:
            del self, task  # the traceback of what it raised holds this frame

    def cancel(self) -> None:
        """Cancel the task if it has not ended: nobody waits for it any more. Does not wait for that."""
        loop = self._shared.loop
        if not self._ended.ready() and not loop.is_closed():
            loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def has_raised(self, exc: BaseException) -> bool:
        """Whether ``exc`` is what it came to, and so is raised where it is waited for."""
        task = self._task
        return task is not None and task.done() and not task.cancelled() and task.exception() is exc

    def __repr__(self) -> str:
        return f"<awaited {self._awaitable!r}>"


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _SharedLoop:
    """The loop that the green threads of one OS thread share, in a green thread of its own.

    It begins with the first awaitable, and ends with the OS thread.

    Attributes:
        awaited: What green threads wait for.
        ending: Whether the process is about to end, and the loop with it.
    """

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.awaited: set[_Awaited[Any]] = set()
        self.ending = False
        self.thread = spawn(self._run)

    def begin(self, awaitable: Awaitable[T]) -> _Awaited[T]:
        """Have the loop begin with ``awaitable``, in a copy of the caller's context."""
        awaited = _Awaited(awaitable, self)
        self.awaited.add(awaited)
        self.loop.call_soon_threadsafe(awaited.begin)
        return awaited

    def end(self) -> None:
        """Cancel what still runs in the loop, wait for that, and close it. May switch."""
        self.ending = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.wait()

    def _run(self) -> None:
        hub = get_hub()
        enter_loop(hub, self.loop)
        try:
            while not self.ending and not hub.closed:  # nobody else can stop it
                try:
                    self.loop.run_forever()
                except GreenletExit:
                    raise
                except (SystemExit, KeyboardInterrupt) as exc:
                    # asyncio lets these out of their task, and out of the loop. Where somebody waits for the task they
                    # are raised there; otherwise they are the main greenlet's, as those of a green thread.
                    if not any(awaited.has_raised(exc) for awaited in self.awaited):
                        hub.throw_in_main(exc)
                except BaseException as exc:  # noqa: BLE001 - one coroutine's mistake is not to end all the others
                    log.error(
                        "%r was raised while the loop waited, perhaps by a greenserve.Timeout around an `await`: "
                        "a coroutine uses asyncio.wait_for() or asyncio.timeout()",
                        exc,
                    )
        finally:
            try:
                self.loop.run_until_complete(_end_all())
            finally:
                self.loop.close()


async def _end_all() -> None:
    """What ``asyncio.run`` does at its end."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            message = "a task failed when it was cancelled, as its loop ended"
            loop.call_exception_handler({"message": message, "exception": task.exception(), "task": task})
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class _Here(thread_local):
    """What belongs to one OS thread."""

    shared: _SharedLoop | None = None


_here = _Here()


def _shared_loop() -> _SharedLoop:
    shared = _here.shared
    if shared is None or shared.thread.ended:
        shared = _here.shared = _SharedLoop()
    elif getcurrent() is shared.thread:
        raise HubError("the loop can't wait for itself: a coroutine says `await`, or calls this by `aio.to_green`")
    return shared


def await_(awaitable: Awaitable[T]) -> T:
    """Return what a coroutine or another awaitable comes to, or raise that. May switch.

    It runs in a loop that all green threads of this OS thread share, so that what belongs to a loop, such as the
    connections of an HTTP client, can be used by all of them. When the caller is killed or times out meanwhile, it is
    cancelled, and not waited for.

    Raises:
        asyncio.CancelledError: It was cancelled by somebody else.
        HubError: The caller is itself a coroutine of the shared loop.
    """
    return _shared_loop().begin(awaitable).result()


def spawn_for_awaitable(awaitable: Awaitable[T]) -> GreenThread[T]:
    """Return a green thread that waits for ``awaitable`` as by `await_`. Killing it cancels the awaitable."""
    awaited = _shared_loop().begin(awaitable)
    thread = spawn(awaited.result)
    thread.link(lambda _: awaited.cancel())  # one that is killed before its start never waits
    return thread


# From coroutines to green threads -----------------------------------------------------------------------------------


async def to_green(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return ``function(*args, **kwargs)``, run in a green thread of its own, in a copy of the caller's context.

    What it raises is raised here. When the caller is cancelled the green thread is killed.

    Raises:
        HubError: The loop does not wait in the hub, so that no green thread could run: it is neither an `EventLoop`
            nor a patched program's.
    """
    loop = asyncio.get_running_loop()
    if not waits_in_hub(get_hub(), loop):
        raise HubError(f"{loop!r} does not wait in the hub: run the coroutine by aio.await_, or in an aio.EventLoop")
    outcome: Event[T] = Event()
    ended: asyncio.Future[None] = loop.create_future()
    thread = spawn(copy_context().run, _run_green, partial(function, *args, **kwargs), outcome, ended)
    try:
        await ended
    except asyncio.CancelledError:
        thread.kill()
        raise
    return cast(T, outcome.wait())


def _run_green(call: Callable[[], T], outcome: Event[T], ended: asyncio.Future[None]) -> None:
    try:
        outcome.send(call())
    except BaseException as exc:  # noqa: BLE001 - the coroutine's, whatever it is
        outcome.send(exc=exc)
    loop = ended.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(_set_ended, ended)


def _set_ended(ended: asyncio.Future[None]) -> None:
    if not ended.done():  # the caller may have been cancelled in the meantime
        ended.set_result(None)


# The end ------------------------------------------------------------------------------------------------------------


def _end_here() -> None:
    shared = _here.shared
    if shared is not None and not shared.thread.ended:
        shared.end()


def _after_fork_in_child() -> None:
    # Its green thread has stayed behind in the parent. It is never closed: the parent's selector is still the same one.
    _here.shared = None


atexit.register(_end_here)
os.register_at_fork(after_in_child=_after_fork_in_child)
