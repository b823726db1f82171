"""``eventlet.hubs.hub``: the methods of eventlet's hub, on ours.

Facts this rests on: a listener of eventlet's is told each time that its fd is ready, until it is removed; a waiter in
our poller is taken out by what it waited for. So a listener puts itself back as long as nobody has removed it.
"""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from greenlet import getcurrent, greenlet

from greenserve._originals import monotonic, thread_local
from greenserve.compat.eventlet._face.hubs import timer
from greenserve.core.hub import Hub as CoreHub
from greenserve.core.hub import get_hub as get_core_hub
from greenserve.core.poller import READ as CORE_READ
from greenserve.core.poller import WRITE as CORE_WRITE
from greenserve.core.poller import Source
from greenserve.core.timers import Handle

__all__ = ["READ", "WRITE", "BaseHub", "DebugListener", "FdListener", "IOClosed", "get_hub"]

READ = "read"
WRITE = "write"

# Whether a second listener for the same fd and direction is an error; `debug.hub_prevent_multiple_readers` sets it.
g_prevent_multiple_readers = True

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class IOClosed(OSError):
    """The fd was closed while somebody waited on it."""


class FdListener:
    """Somebody who waits for an fd.

    Args:
        evtype: READ or WRITE.
        fileno: The fd.
        cb: Called with the fd when it is ready.
        tb: Called with an exception when it was closed.
        mark_as_closed: Called before that, to tell the object that has the fd; or None.
    """

    def __init__(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[[int], Any],
        tb: Callable[..., Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> None:
        assert evtype in {READ, WRITE}
        self.evtype = evtype
        self.fileno = fileno
        self.cb = cb
        self.tb = tb
        self.mark_as_closed = mark_as_closed
        self.spent = False
        self.greenlet = getcurrent()
        self.handle = Handle(None)

    def defang(self) -> None:
        """Tell it nothing more: its fd is another file by now."""
        self.spent = True
        self.handle.fire = None
        if self.mark_as_closed is not None:
            self.mark_as_closed()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.evtype!r}, {self.fileno!r}, {self.cb!r}, {self.tb!r})"


class DebugListener(FdListener):
    """A listener that knows where it was made."""

    def __init__(self, *args: Any) -> None:
        self.where_called = traceback.format_stack()
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} of {self.greenlet!r}\n{''.join(self.where_called)}EndDebugFdListener"


def _refuse(exc: BaseException) -> None:
    """The throwback of whoever waits in ours: nobody throws it."""


class BaseHub:
    """The hub of one OS thread, by eventlet's methods.

    Attributes:
        listeners: For READ and WRITE, the first listener of each fd.
        secondaries: Those that came later, where that is allowed.
        lclass: The class of new listeners.
        debug_exceptions: Whether what a callback or a green thread raises is printed.
    """

    SYSTEM_EXCEPTIONS = (KeyboardInterrupt, SystemExit)

    READ = READ
    WRITE = WRITE

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.core: CoreHub = get_core_hub()
        self.clock = clock or monotonic
        self.listeners: dict[str, dict[int, FdListener]] = {READ: {}, WRITE: {}}
        self.secondaries: dict[str, dict[int, list[FdListener]]] = {READ: {}, WRITE: {}}
        self.lclass: type[FdListener] = FdListener
        self.debug_exceptions = True
        self.debug_blocking = False
        self.debug_blocking_resolution: float = 1
        self._alarm: timer.Timer | None = None
        self._old_handler: Any = None
        self._aborted = False

    # Switching ------------------------------------------------------------------------------------------------------

    @property
    def greenlet(self) -> greenlet:
        """The greenlet in which the hub runs."""
        return self.core.greenlet

    @property
    def running(self) -> bool:
        """Whether it has begun to run, and was not aborted since anybody waited."""
        return bool(self.core.greenlet) and not self._aborted

    @property
    def stopping(self) -> bool:
        """Whether it ends."""
        return self.core.closed

    def ensure_greenlet(self) -> None:
        """The hub's greenlet lives as long as its OS thread: there is nothing to do."""

    def switch(self) -> Any:
        """Let the hub run. Returns what the caller is switched to with, or raises what is thrown in. May switch."""
        current: Any = getcurrent()
        hub = self.core.greenlet
        assert current is not hub, "Cannot switch to MAINLOOP from MAINLOOP"
        switch_out = getattr(current, "switch_out", None)
        if switch_out is not None:
            try:
                switch_out()
            except Exception:  # noqa: BLE001 - somebody's tracing must not keep others from running
                self.squelch_generic_exception(sys.exc_info())
        if current.parent is not None and current.parent is not hub:
            try:
                current.parent = hub
            except ValueError:
                pass  # the hub's own ancestor
        self._aborted = False
        return self.core.switch()

    def run(self, *args: Any, **kw: Any) -> None:
        """The hub runs by itself, when somebody waits.

        Raises:
            RuntimeError: Always: it runs already.
        """
        raise RuntimeError("Already running!")

    def raise_in_main(self, exc: BaseException) -> None:
        """Raise ``exc`` in the main greenlet, where it is parked, before anything else runs."""
        main = self.core.main
        if getcurrent() is main:
            raise exc
        self.core.ready.appendleft(Handle(partial(main.throw, exc)))

    def abort(self, wait: bool = False) -> None:
        """Drop all timers, and go back to the main greenlet. The hub itself lives as long as its OS thread.

        May switch, with ``wait``.
        """
        for _, _, handle in list(self.core.timers.heap):
            self.core.timers.cancel(handle)
        self._aborted = True
        self.core.schedule(Handle(self.core.main.switch))
        if wait:
            assert self.greenlet is not getcurrent(), "Can't abort with wait from inside the hub's greenlet."
            self.core.switch()

    def default_sleep(self) -> float:
        """How long the hub would sleep with nothing to do, in eventlet, in seconds."""
        return 60.0

    def sleep_until(self) -> float | None:
        """The next deadline, in seconds of `clock`, or None."""
        return self.core.timers.next_deadline()

    # Timers ---------------------------------------------------------------------------------------------------------

    def schedule_call_local(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> timer.LocalTimer:
        """Call ``cb(*args, **kw)`` in ``seconds``, unless the caller has ended by then."""
        local = timer.LocalTimer(seconds, cb, *args, **kw)
        self.add_timer(local)
        return local

    def schedule_call_global(self, seconds: float, cb: Callable[..., Any], *args: Any, **kw: Any) -> timer.Timer:
        """Call ``cb(*args, **kw)`` in ``seconds``, whether or not the caller has ended."""
        made = timer.Timer(seconds, cb, *args, **kw)
        self.add_timer(made)
        return made

    def add_timer(self, timer: timer.Timer) -> float:
        """Schedule ``timer``, and return when it is due, in seconds of `clock`."""
        seconds = timer.seconds or 0
        timer.core = self.core
        timer.handle = handle = Handle(partial(self._fire, timer))
        due = monotonic() + seconds
        if seconds <= 0:
            self.core.schedule(handle)  # behind those who let others run, as these are behind it
        else:
            self.core.add_timer(due, handle)
        return due

    def _fire(self, due: timer.Timer) -> None:
        try:
            due()
        except self.SYSTEM_EXCEPTIONS as exc:
            self.raise_in_main(exc)
        except BaseException:  # noqa: BLE001 - the edge of a callback
            self.squelch_timer_exception(due, sys.exc_info())

    def timer_canceled(self, timer: timer.Timer) -> None:
        """A timer says by itself that it was cancelled: there is nothing to do."""

    @property
    def timers(self) -> list[tuple[float, Any]]:
        """What is scheduled, with when it is due."""
        return [(due, _described(handle)) for due, _, handle in sorted(self.core.timers.heap)]

    @property
    def next_timers(self) -> list[tuple[float, Any]]:
        """Empty: what is scheduled is among `timers` at once."""
        return []

    @property
    def timers_canceled(self) -> int:
        """How many of `timers` are known to be cancelled."""
        return sum(handle.fire is None for _, _, handle in self.core.timers.heap)

    def get_timers_count(self) -> int:
        """How many timers there are, cancelled ones included."""
        return len(self.core.timers.heap)

    # File descriptors -----------------------------------------------------------------------------------------------

    def add(
        self,
        evtype: str,
        fileno: int,
        cb: Callable[[int], Any],
        tb: Callable[..., Any],
        mark_as_closed: Callable[[], Any] | None,
    ) -> FdListener:
        """Call ``cb(fileno)`` each time that the fd is ready, until `remove`.

        Raises:
            RuntimeError: Somebody waits for the same already, and `debug.hub_prevent_multiple_readers` is on.
            OSError: There is no such fd.
        """
        listener = self.lclass(evtype, fileno, cb, tb, mark_as_closed)
        first = self.listeners[evtype].get(fileno)
        if first is not None and g_prevent_multiple_readers:
            raise second_waiter(evtype, fileno, first.greenlet)
        self._watch(listener)
        if first is None:
            self.listeners[evtype][fileno] = listener
        else:
            self.secondaries[evtype].setdefault(fileno, []).append(listener)
        return listener

    def _watch(self, listener: FdListener) -> None:
        source = self.core.poller.source(listener.fileno)
        handle = Handle(partial(self._ready, listener, source))
        listener.handle = handle
        waiting, direction = _waiting(source, listener.evtype)
        waiting.append(handle)
        try:
            if not self.core.poller.want(source, direction):
                waiting.remove(handle)
                self.core.schedule(handle)  # a regular file, say: always ready
        except BaseException:
            waiting.remove(handle)
            handle.fire = None
            raise

    def _ready(self, listener: FdListener, source: Source) -> None:
        if listener.spent:
            return
        try:
            if source.closed:
                self.remove(listener)
                listener.defang()
                listener.tb(IOClosed(errno.ENOTCONN, "Operation on closed file"))
                return
            listener.cb(listener.fileno)
            if not listener.spent:
                self._watch(listener)
        except self.SYSTEM_EXCEPTIONS as exc:
            self.raise_in_main(exc)
        except BaseException:  # noqa: BLE001 - the edge of a callback
            self.squelch_exception(listener.fileno, sys.exc_info())

    def remove(self, listener: FdListener) -> None:
        """Tell ``listener`` nothing more."""
        if listener.spent:
            return
        listener.spent = True
        listener.handle.fire = None
        source = self.core.poller.sources.get(listener.fileno)
        if source is not None:
            waiting, _ = _waiting(source, listener.evtype)
            if listener.handle in waiting:
                waiting.remove(listener.handle)
        bucket = self.listeners[listener.evtype]
        later = self.secondaries[listener.evtype]
        if bucket.get(listener.fileno) is listener:
            del bucket[listener.fileno]
            if listener.fileno in later:
                bucket[listener.fileno] = later[listener.fileno].pop(0)
        elif listener in later.get(listener.fileno, ()):
            later[listener.fileno].remove(listener)
        if not later.get(listener.fileno, True):
            del later[listener.fileno]

    def _listeners_of(self, fileno: int) -> list[FdListener]:
        found = []
        for evtype in (READ, WRITE):
            if fileno in self.listeners[evtype]:
                found.append(self.listeners[evtype][fileno])
            found += self.secondaries[evtype].get(fileno, [])
        return found

    def remove_descriptor(self, fileno: int) -> None:
        """Tell everybody who waits on ``fileno`` that it is ready, a last time."""
        for listener in self._listeners_of(fileno):
            self.remove(listener)
            try:
                listener.cb(fileno)
            except Exception:  # noqa: BLE001 - the others are to be told too
                self.squelch_generic_exception(sys.exc_info())

    def notify_close(self, fileno: int) -> None:
        """An fd is about to be closed. Whoever waits is told when the number is used again, or by its socket."""

    def mark_as_reopened(self, fileno: int) -> None:
        """The system has given the number of an fd out anew: whoever still waits on the old one gets `IOClosed`."""
        for listener in self._listeners_of(fileno):
            self.remove(listener)
            listener.defang()
            if not listener.greenlet.dead:
                self.schedule_call_global(0, listener.tb, IOClosed(errno.ENOTCONN, "Operation on closed file"))
        source = self.core.poller.sources.get(fileno)
        if source is not None and (source.readers or source.writers):
            self.core.close_source(source)

    def get_readers(self) -> list[FdListener]:
        """Who waits to read, in whatever way."""
        return self._all_waiting(READ)

    def get_writers(self) -> list[FdListener]:
        """Who waits to write."""
        return self._all_waiting(WRITE)

    def _all_waiting(self, evtype: str) -> list[FdListener]:
        found = []
        known = {listener.handle: listener for listener in self.listeners[evtype].values()}
        for fd, source in list(self.core.poller.sources.items()):
            if source is self.core._wake_source:
                continue
            for handle in _waiting(source, evtype)[0]:
                fire: Any = handle.fire
                found.append(known.get(handle) or FdListener(evtype, fd, fire, _refuse, None))
        return found

    # Debugging ------------------------------------------------------------------------------------------------------

    def set_debug_listeners(self, value: bool) -> None:
        """Whether listeners remember where they were made."""
        self.lclass = DebugListener if value else FdListener

    def set_timer_exceptions(self, value: bool) -> None:
        """Whether what callbacks and green threads raise is printed."""
        self.debug_exceptions = value

    def squelch_generic_exception(self, exc_info: Any) -> None:
        """Print what somebody raised where nobody could catch it."""
        if self.debug_exceptions:
            traceback.print_exception(*exc_info)
            sys.stderr.flush()

    def squelch_timer_exception(self, timer: timer.Timer, exc_info: Any) -> None:
        """Print what a timer's call raised."""
        self.squelch_generic_exception(exc_info)

    def squelch_exception(self, fileno: int, exc_info: Any) -> None:
        """Print what a listener's call raised, and drop the fd."""
        self.squelch_generic_exception(exc_info)
        self.remove_descriptor(fileno)

    def block_detect_pre(self) -> None:
        """Raise RuntimeError, by SIGALRM, in what keeps the hub waiting for ``debug_blocking_resolution`` seconds."""
        if self._alarm is None:
            self._old_handler = signal.signal(signal.SIGALRM, _raise_blocked)
        signal.setitimer(signal.ITIMER_REAL, self.debug_blocking_resolution)
        # The hub comes here again before the alarm goes off, unless something keeps it from running.
        self._alarm = self.schedule_call_global(self.debug_blocking_resolution / 3, self.block_detect_pre)

    def block_detect_post(self) -> None:
        """Look for blocking calls no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._old_handler)


def _raise_blocked(signum: int, frame: FrameType | None) -> None:
    where = "" if frame is None else f" at {frame.f_code.co_filename}:{frame.f_lineno}"
    raise RuntimeError(f"Blocking detector ALARMED{where}")


def second_waiter(evtype: str, fileno: int, first: object) -> RuntimeError:
    """What whoever wants to wait for what somebody waits for is told."""
    return RuntimeError(
        f"Second simultaneous {evtype} on fileno {fileno} detected: {first!r} does so already, and {getcurrent()!r} "
        "wants to. eventlet.debug.hub_prevent_multiple_readers(False) allows it; each is served in turn then"
    )


def _waiting(source: Source, evtype: str) -> tuple[list[Handle], int]:
    return (source.readers, CORE_READ) if evtype == READ else (source.writers, CORE_WRITE)


def _described(handle: Handle) -> Any:
    fire = handle.fire
    return fire.args[0] if isinstance(fire, partial) and fire.args else fire


class _Here(thread_local):
    """The hub of one OS thread."""

    hub: BaseHub | None = None
    Hub: type[BaseHub] = BaseHub  # what `use_hub` has chosen


here = _Here()


def get_hub() -> BaseHub:
    """This OS thread's hub."""
    hub = here.hub
    if hub is None or hub.core is not get_core_hub():  # after a fork there is another one
        hub = here.hub = here.Hub()
    return hub


timer._hub.get = get_hub
