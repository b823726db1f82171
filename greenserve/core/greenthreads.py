"""Green threads: greenlets that the hub runs, with a result. Knows no file descriptors."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve._log import get_logger
from greenserve._originals import monotonic
from greenserve._typing import Any, Generic, TypeVar, cast
from greenserve.core.hub import Hub, get_hub, thread_state
from greenserve.core.timers import Handle, Timer
from greenserve.core.waiters import WaitQueue, sleep
from greenserve.errors import HubError

__all__ = [
    "GreenThread",
    "GreenletExit",
    "getcurrent",
    "kill",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_n",
]

log = get_logger("greenserve.core")

T = TypeVar("T")


def _report(exc: BaseException, what: object) -> None:
    """Say once what ended a green thread, at its edge: nobody above it would."""
    if isinstance(exc, (SystemExit, KeyboardInterrupt)):
        get_hub().throw_in_main(exc)
    elif not isinstance(exc, GreenletExit):
        log.error("green thread %r failed", what, exc_info=exc)


class GreenThread(greenlet, Generic[T]):
    """A function that runs in a greenlet of its own. Made by `spawn`."""

    __slots__ = ("_call", "_error", "_hub", "_links", "_result", "_start")

    def __init__(self, hub: Hub, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        greenlet.__init__(self, None, hub.greenlet)
        self._hub: Hub | None = hub
        self._call: partial[T] | None = partial(function, *args, **kwargs)
        self._result: T | None = None
        self._error: BaseException | None = None
        self._links: list[Callable[[GreenThread[T]], Any]] | None = None
        self._start: Handle | None = Handle(self.switch)

    def run(self) -> None:
        """What the greenlet runs. Not for callers."""
        call, self._start = self._call, None
        assert call is not None
        try:
            self._result = call()
        except BaseException as exc:  # noqa: BLE001 - the edge of the green thread
            if isinstance(exc, GreenletExit):
                exc.__traceback__ = None  # nobody asks where a killed one was: its frames go at once
            elif exc.__traceback__ is not None:
                # Without this frame: whose code failed needs no telling where green threads begin.
                exc.__traceback__ = exc.__traceback__.tb_next
            self._error = exc
            _report(exc, call.func)
        finally:
            self._finish()
            # The frames of a failure lead to this one (f_back): no circle, which would keep them all alive.
            del self

    def _finish(self) -> None:
        hub, self._hub = self._hub, None  # the mark of the end: `ended` reads it
        self._call = None
        if self._links:
            links, self._links = self._links, None
            for link in links:
                try:
                    link(self)
                except BaseException as exc:  # noqa: BLE001 - the other links, and those who wait, have to be told
                    _report(exc, link)
        if hub is not None and hub.joiners:
            self._wake_joiners(hub)

    def _wake_joiners(self, hub: Hub) -> None:
        queue: WaitQueue | None = hub.joiners.pop(self, None)  # atomic: dict.pop
        if queue is not None:
            queue.wake_all()

    @property
    def ended(self) -> bool:
        """Whether it has a result or an error, or was cancelled."""
        return self._hub is None

    def wait(self, timeout: float | None = None) -> T:
        """Return what the function returned, or raise what it raised. From any OS thread. May switch.

        Raises:
            TimeoutError: It has not ended within ``timeout`` seconds. It goes on running.
            GreenletExit: It was killed or cancelled.
            HubError: It waits for itself.
        """
        if not self.ended:
            self._wait(timeout)
        error = self._error
        if error is None:
            return cast(T, self._result)
        try:
            raise error
        finally:
            del self, error  # the traceback holds this frame: no circle

    def _wait(self, timeout: float | None) -> None:
        if getcurrent() is self:
            raise HubError("a green thread can't wait for its own end")
        hub = self._hub
        if hub is None:
            return
        queue: WaitQueue = hub.joiners.setdefault(self, WaitQueue())  # atomic: dict.setdefault
        waiter = queue.enter()
        # It may have ended in its own OS thread before it could see us in the queue. Others may be in it too.
        if self.ended:
            queue.leave(waiter)
            self._wake_joiners(hub)
        elif not queue.finish(waiter, timeout) and not self.ended:
            raise TimeoutError(f"green thread has not ended within {timeout} s")

    def link(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(green_thread, *args, **kwargs)`` when it has ended; at once if it has already."""
        if self.ended:
            function(self, *args, **kwargs)
            return
        if self._links is None:
            self._links = []
        self._links.append(_Link(function, args, kwargs))

    def unlink(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Take back a `link` with the same arguments. False when there is none."""
        wanted = _Link(function, args, kwargs)
        if self._links is None or wanted not in self._links:
            return False
        self._links.remove(wanted)
        return True

    def kill(self, *throw_args: Any) -> None:
        """Raise `GreenletExit`, or what ``throw_args`` say, where it is parked. May switch, since it runs at once.

        One that has not started yet never runs. From another OS thread, or from the hub, it is done in the next round.
        """
        kill(self, *throw_args)

    def cancel(self, *throw_args: Any) -> None:
        """Keep it from running if it has not started; no effect when it has."""
        if self._start is not None:
            kill(self, *throw_args)

    def throw(self, *throw_args: Any) -> Any:
        """As ``greenlet.throw``, for the hub. One that has not started never runs, and ends with the exception."""
        if self or self.dead:
            return super().throw(*throw_args)
        start, self._start = self._start, None
        if start is not None:
            start.cancel()
        self._error = _as_exception(throw_args)
        self._finish()
        return super().throw(GreenletExit)

    def __repr__(self) -> str:
        call = self._call
        name = "" if call is None else f" {_name_of(call.func)},"
        if self.ended:
            state = "ended"
        elif self._start is not None:
            state = "not started"
        else:
            state = "running" if self.gr_frame is None else "parked"
        return f"<{type(self).__name__} at {id(self):#x}:{name} {state}>"


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    name: str = getattr(function, "__qualname__", type(function).__qualname__)
    return name


class _Link:
    """A function with its arguments, equal to another one of the same."""

    __slots__ = ("args", "function", "kwargs")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs

    def __call__(self, thread: GreenThread[Any]) -> Any:
        return self.function(thread, *self.args, **self.kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Link):
            return NotImplemented
        return (self.function, self.args, self.kwargs) == (other.function, other.args, other.kwargs)

    __hash__ = None  # type: ignore[assignment]  # the arguments need not be hashable


def _current_hub() -> Hub:
    try:
        return thread_state.hub
    except AttributeError:
        return get_hub()


def spawn(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> GreenThread[T]:
    """Run ``function(*args, **kwargs)`` in a green thread of its own, from the next round on.

    What it raises is logged once, and raised again by `GreenThread.wait`. SystemExit and KeyboardInterrupt reach the
    main greenlet.
    """
    hub = _current_hub()
    thread = GreenThread(hub, function, args, kwargs)
    hub.schedule(thread._start)  # type: ignore[arg-type]  # it has not started
    return thread


def spawn_after(seconds: float, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> GreenThread[T]:
    """As `spawn`, no sooner than in ``seconds`` seconds. `GreenThread.cancel` takes it back."""
    hub = _current_hub()
    thread = GreenThread(hub, function, args, kwargs)
    thread._start = start = Timer(hub.timers, thread.switch)
    hub.add_timer(monotonic() + seconds, start)
    return thread


def spawn_n(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> greenlet:
    """As `spawn`, where nobody wants the result: a plain greenlet, which costs less."""
    hub = _current_hub()
    thread = greenlet(_run_detached, hub.greenlet)
    hub.schedule(Handle(partial(thread.switch, function, args, kwargs)))
    return thread


def _run_detached(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        function(*args, **kwargs)
    except BaseException as exc:  # noqa: BLE001 - the edge of the green thread
        _report(exc, function)


def kill(thread: greenlet, *throw_args: Any) -> None:
    """Raise `GreenletExit`, or what ``throw_args`` say (as in ``greenlet.throw``), in ``thread``. May switch.

    No effect on one that has ended. It must be the caller's OS thread's, or a `GreenThread`.

    Raises:
        TypeError: ``throw_args`` do not make an exception.
    """
    if throw_args and not _is_throwable(throw_args[0]):
        raise TypeError(f"kill({thread!r}, {throw_args[0]!r}): give an exception, such as kill(thread, ValueError)")
    current = getcurrent()
    if thread is current:
        thread.throw(*throw_args)
    hub = thread._hub if isinstance(thread, GreenThread) else get_hub()
    if hub is None or thread.dead:
        return
    handle = Handle(partial(_throw, thread, throw_args))
    is_ours: bool = hub is getattr(thread_state, "hub", None)
    if not is_ours or current is hub.greenlet:
        if isinstance(thread, GreenThread) and thread._start is not None:
            thread._start.fire = None  # its turn would come before that of the throw
        hub.schedule(handle)
        return
    # At once, even before its start; and the caller goes on in the next round.
    resume = Handle(current.switch)
    hub.ready.appendleft(handle)
    hub.schedule(resume)
    try:
        while resume.fire is not None:
            hub.switch()
    except BaseException:
        resume.fire = None
        raise


def _is_throwable(value: object) -> bool:
    return isinstance(value, BaseException) or (isinstance(value, type) and issubclass(value, BaseException))


def _throw(thread: greenlet, throw_args: tuple[Any, ...]) -> None:
    if thread.dead:
        return
    if thread or isinstance(thread, GreenThread):
        thread.throw(*throw_args)
    else:
        thread.throw()  # of a plain one that never ran nobody wants to hear


def _as_exception(throw_args: tuple[Any, ...]) -> BaseException:
    if not throw_args:
        return GreenletExit()
    kind, value = throw_args[0], throw_args[1] if len(throw_args) > 1 else None
    if isinstance(kind, BaseException):
        return kind
    if isinstance(value, BaseException):
        return value
    return cast(BaseException, kind() if value is None else kind(value))


def _after_fork_in_child() -> None:
    # The green thread that forked goes on, on the new hub.
    current = getcurrent()
    if isinstance(current, GreenThread) and not current.ended:
        current._hub = get_hub()


os.register_at_fork(after_in_child=_after_fork_in_child)
