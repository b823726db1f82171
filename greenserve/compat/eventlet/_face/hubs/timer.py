"""``eventlet.hubs.timer``: a call that runs once, some seconds after it was scheduled."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from greenserve.core.hub import Hub as CoreHub
from greenserve.core.timers import Handle

__all__ = ["LocalTimer", "Timer"]

# Whether timers remember where they were made; `debug.hub_timer_stacks` sets it.
_g_debug = False


class Timer:
    """Calls ``cb(*args, **kw)`` when ``seconds`` are over. A hub's ``add_timer`` schedules it, or `schedule`.

    Attributes:
        called: It has run or was cancelled.
        tpl: What to call, with which arguments; gone once it was called.
    """

    def __init__(self, seconds: float | None, cb: Callable[..., Any], *args: Any, **kw: Any) -> None:
        self.seconds = seconds
        self.tpl = cb, args, kw
        self.called = False
        self.handle: Handle | None = None
        self.core: CoreHub | None = None
        if _g_debug:
            self.traceback = "".join(traceback.format_stack()[:-1])

    @property
    def pending(self) -> bool:
        """Whether it is still to run."""
        return not self.called

    def copy(self) -> Timer:
        """Another one for the same call, not scheduled."""
        cb, args, kw = self.tpl
        return type(self)(self.seconds, cb, *args, **kw)

    def schedule(self) -> Timer:
        """Let it run in this OS thread's hub."""
        self.called = False
        self.scheduled_time = _hub.get().add_timer(self)
        return self

    def __call__(self, *args: Any) -> None:
        if not self.called:
            self.called = True
            self._run()

    def _run(self) -> None:
        cb, args, kw = self.tpl
        try:
            cb(*args, **kw)
        finally:
            self._forget()

    def cancel(self) -> None:
        """Keep it from running. No effect once it has run or was cancelled."""
        if not self.called:
            self.called = True
            if self.core is not None and self.handle is not None:
                self.core.timers.cancel(self.handle)
            self._forget()

    def _forget(self) -> None:
        if hasattr(self, "tpl"):
            del self.tpl

    def __repr__(self) -> str:
        cb, args, kw = getattr(self, "tpl", (None, None, None))
        text = f"Timer({self.seconds}, {cb}, *{args}, **{kw})"
        return f"{text}\n{self.traceback}" if hasattr(self, "traceback") else text

    def __lt__(self, other: Timer) -> bool:
        return id(self) < id(other)


class LocalTimer(Timer):
    """A `Timer` that does not run once the green thread that made it has ended."""

    def __init__(self, seconds: float | None, cb: Callable[..., Any], *args: Any, **kw: Any) -> None:
        self.greenlet: greenlet | None = getcurrent()
        super().__init__(seconds, cb, *args, **kw)

    @property
    def pending(self) -> bool:
        """Whether it is still to run."""
        return not (self.called or self.greenlet is None or self.greenlet.dead)

    def __call__(self, *args: Any) -> None:
        if not self.called:
            self.called = True
            if self.greenlet is not None and not self.greenlet.dead:
                self._run()

    def cancel(self) -> None:
        """Keep it from running."""
        self.greenlet = None
        super().cancel()


class _HubOfThread:
    """How a timer finds the hub: `greenserve.compat.eventlet._face.hubs.hub` says it, and is made of timers itself."""

    def __init__(self) -> None:
        self.get: Callable[[], Any] = _no_hub


def _no_hub() -> Any:
    raise RuntimeError("import eventlet.hubs first")


_hub = _HubOfThread()
