"""``eventlet.greenthread``: green threads that are made from a parent, and started by whoever schedules them."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve.compat.eventlet._face import event, timeout
from greenserve.compat.eventlet._face._stand_in import StandIn
from greenserve.compat.eventlet._face.hubs import get_hub, timer
from greenserve.compat.eventlet._face.support import wrap_deprecated
from greenserve.core import greenthreads, waiters
from greenserve.core.hub import get_hub as get_core_hub
from greenserve.core.timers import Handle

__all__ = [
    "GreenThread",
    "TimeoutError",
    "call_after",
    "call_after_global",
    "call_after_local",
    "cancel",
    "exc_after",
    "getcurrent",
    "kill",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_after_local",
    "spawn_n",
    "with_timeout",
]


def sleep(seconds: float = 0) -> None:
    """Let others run, and go on no sooner than in ``seconds`` seconds. May switch.

    Raises:
        RuntimeError: The hub itself calls it, with ``seconds`` above 0.
    """
    if getcurrent() is get_core_hub().greenlet:
        if seconds <= 0:
            return
        raise RuntimeError("do not call blocking functions from the mainloop")
    waiters.sleep(seconds)


def _run_to_the_end(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return ``function(*args, **kwargs)``, at the edge of a green thread: what it raises goes no further."""
    try:
        return function(*args, **kwargs)
    except GreenletExit as exc:
        return exc
    except BaseException as exc:  # noqa: BLE001 - the edge of a green thread
        here = get_hub()
        if isinstance(exc, here.SYSTEM_EXCEPTIONS):
            here.raise_in_main(exc)
        else:
            here.squelch_generic_exception(sys.exc_info())
        return None


class GreenThread(greenlet):
    """A green thread whose result can be waited for. `spawn` makes and schedules it."""

    stand_in = StandIn  # what it gets from threading.current_thread()

    def __init__(self, parent: greenlet | None) -> None:
        greenlet.__init__(self, None, parent)
        self._exit_event = event.Event()
        self._exit_funcs: deque[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] | None = None
        self._resolving_links = False

    def run(self, *args: Any) -> Any:
        """What the greenlet runs. Not for callers."""
        return _run_to_the_end(self.main, *args)

    def main(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What it runs."""
        try:
            result = function(*args, **kwargs)
        except BaseException:
            self._exit_event.send_exception(*sys.exc_info())
            if self._exit_funcs:
                self._resolve_links()
            raise
        self._exit_event.send(result)
        if self._exit_funcs:
            self._resolve_links()

    def wait(self) -> Any:
        """Return what its function returned, or raise what it raised. May switch."""
        return self._exit_event.wait()

    def link(self, func: Callable[..., Any], *curried_args: Any, **curried_kwargs: Any) -> None:
        """Call ``func(green_thread, *curried_args, **curried_kwargs)`` when it has ended; at once if it has."""
        if self._exit_funcs is None:
            self._exit_funcs = deque()
        self._exit_funcs.append((func, curried_args, curried_kwargs))
        if self._exit_event.ready():
            self._resolve_links()

    def unlink(self, func: Callable[..., Any], *curried_args: Any, **curried_kwargs: Any) -> bool:
        """Take back a `link` with the same arguments. False when there is none."""
        link = func, curried_args, curried_kwargs
        if self._exit_funcs is None or link not in self._exit_funcs:
            return False
        self._exit_funcs.remove(link)
        return True

    def _resolve_links(self) -> None:
        if self._resolving_links:
            return
        self._resolving_links = True
        try:
            while self._exit_funcs:
                function, args, kwargs = self._exit_funcs.popleft()
                function(self, *args, **kwargs)
        finally:
            self._resolving_links = False

    def kill(self, *throw_args: Any) -> None:
        """Raise ``GreenletExit``, or what ``throw_args`` say, where it is parked. May switch."""
        kill(self, *throw_args)

    def cancel(self, *throw_args: Any) -> None:
        """Keep it from running if it has not started; no effect when it has."""
        cancel(self, *throw_args)

    def __await__(self) -> Generator[Any, None, Any]:
        """Its result, for a coroutine of the asyncio loop that runs in this OS thread."""
        result: Generator[Any, None, Any] = _awaiting(self).__await__()
        return result


class _NotAwaitable:
    """How a green thread is awaited is `greenserve.compat.eventlet._face.asyncio`'s affair: it puts itself here."""

    make: Callable[[GreenThread], Any] | None = None


def _awaiting(thread: GreenThread) -> Any:
    if _NotAwaitable.make is None:
        raise RuntimeError("a green thread can be awaited once eventlet.asyncio is imported, while a loop runs")
    return _NotAwaitable.make(thread)


def spawn(func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """Run ``func(*args, **kwargs)`` in a green thread of its own, from the next round on."""
    core = get_core_hub()
    thread = GreenThread(core.greenlet)
    core.schedule(Handle(partial(thread.switch, func, args, kwargs)))
    return thread


def spawn_after(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """As `spawn`, no sooner than in ``seconds`` seconds."""
    here = get_hub()
    thread = GreenThread(here.greenlet)
    here.schedule_call_global(seconds, thread.switch, func, args, kwargs)
    return thread


def spawn_after_local(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> GreenThread:
    """As `spawn_after`, unless the caller has ended by then."""
    here = get_hub()
    thread = GreenThread(here.greenlet)
    here.schedule_call_local(seconds, thread.switch, func, args, kwargs)
    return thread


def _spawn_n(
    seconds: float, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[timer.Timer, greenlet]:
    here = get_hub()
    thread = greenlet(partial(_run_to_the_end, func), here.greenlet)
    return here.schedule_call_global(seconds, thread.switch, *args, **kwargs), thread


def spawn_n(func: Callable[..., Any], *args: Any, **kwargs: Any) -> greenlet:
    """As `spawn`, where nobody wants the result: a plain greenlet."""
    core = get_core_hub()
    thread = greenlet(partial(_run_to_the_end, func), core.greenlet)
    core.schedule(Handle(partial(thread.switch, *args, **kwargs)))
    return thread


def cancel(g: greenlet, *throw_args: Any) -> None:
    """`kill`, only if ``g`` has not started."""
    if not g:
        kill(g, *throw_args)


def kill(g: greenlet, *throw_args: Any) -> None:
    """Raise ``GreenletExit``, or what ``throw_args`` say, where ``g`` is parked. May switch.

    One that has not started never runs.
    """
    if g.dead:
        return
    if not g and isinstance(g, GreenThread):
        error = greenthreads._as_exception(throw_args)
        g._exit_event.send_exception(error)
        g._resolve_links()
        throw_args = ()  # nothing of it runs: this only makes it dead
    greenthreads.kill(g, *throw_args)


# Old names ----------------------------------------------------------------------------------------------------------


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated: its name is {new} now", DeprecationWarning, stacklevel=3)


def call_after_global(seconds: float, func: Callable[..., Any], *args: Any, **kwargs: Any) -> timer.Timer:
    """`spawn_after`, which returns the timer."""
    _warn("call_after_global", "spawn_after")
    return _spawn_n(seconds, func, args, kwargs)[0]


def call_after_local(seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> timer.LocalTimer:
    """`spawn_after_local`, which returns the timer."""
    _warn("call_after_local", "spawn_after_local")
    here = get_hub()
    thread = greenlet(partial(_run_to_the_end, function), here.greenlet)
    return here.schedule_call_local(seconds, thread.switch, *args, **kwargs)


call_after = call_after_local


def exc_after(seconds: float | None, *throw_args: Any) -> timer.Timer:
    """Raise in the caller in ``seconds`` seconds; None never does."""
    _warn("exc_after", "Timeout(seconds, exception)")
    if seconds is None:
        return timer.Timer(seconds, lambda: None)
    return get_hub().schedule_call_local(seconds, getcurrent().throw, *throw_args)


TimeoutError = wrap_deprecated("greenthread.TimeoutError", "Timeout")(timeout.Timeout)
with_timeout = wrap_deprecated("greenthread.with_timeout", "with_timeout")(timeout.with_timeout)
