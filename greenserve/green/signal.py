"""What differs in the module ``signal``: handlers may block, and what waits for a signal lets others run.

Facts this rests on (CPython's signal module; our hub):

- A handler written in Python runs between two bytecodes of whatever the main thread is doing: in the hub, in the middle
  of its poll, or in any green thread.
- In the hub nobody can park, and an exception there has nobody to go to.

What this means for us: in the hub a handler runs in a greenlet of its own, at once, and may park. In a green thread it
runs where it is, so that it may take again the locks that this one holds. Anywhere it takes itself for the main thread,
and what it raises is raised in the main greenlet.
"""

from __future__ import annotations

import errno
import os
import signal as _signal
from collections.abc import Callable, Iterable
from functools import partial
from types import FrameType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve import _originals
from greenserve.core.hub import Hub, get_hub, has_hub
from greenserve.core.timers import Handle
from greenserve.core.waiters import WaitQueue, sleep
from greenserve.green._parking import find_hub, give_way
from greenserve.green._thread import acting_as_main

__all__ = [
    "adopt",
    "getsignal",
    "pause",
    "pthread_sigmask",
    "raise_signal",
    "set_wakeup_fd",
    "signal",
    "sigtimedwait",
    "sigwait",
    "sigwaitinfo",
]

_Handler = Callable[[int, "FrameType | None"], Any]

# Nobody is told of a pending signal that is blocked: it is asked for after so many seconds, at first and at most.
_MIN_PAUSE = 0.001
_MAX_PAUSE = 0.05


class _Caught:
    """What the system calls for a signal: the program's handler, where it can block and raise."""

    __slots__ = ("handler",)

    def __init__(self, handler: _Handler) -> None:
        self.handler = handler

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        _paused.wake_all()
        hub = get_hub() if has_hub() else None
        current = getcurrent()
        if hub is None:
            self.handler(signum, frame)
        elif current is hub.greenlet:
            greenlet(partial(self._run, hub)).switch(signum, frame)
        else:
            turn = hub.call_soon(_let_pass)
            if current is hub.main:
                self.handler(signum, frame)
            else:
                self._run(hub, signum, frame)
            _look_again(hub, current, turn)

    def _run(self, hub: Hub, signum: int, frame: FrameType | None) -> None:
        current = getcurrent()
        acting_as_main.append(current)
        try:
            self.handler(signum, frame)
        except GreenletExit:
            raise
        except BaseException as exc:  # noqa: BLE001 - it is the main greenlet's, whatever it is
            hub.throw_in_main(exc)
        finally:
            acting_as_main.remove(current)


def _let_pass() -> None:
    """Has been called, or not: so one sees whether the hub has run."""


def _look_again(hub: Hub, thread: greenlet, turn: Handle) -> None:
    """Let ``thread`` look again for what it waits for, if the hub has run since it was told to take this ``turn``.

    The handler may have come between the last look and the parking, and a wake-up that came while the handler waited
    would be lost. Whatever parks takes a resumption without a wake-up for what it is.
    """
    if turn.pending:
        turn.cancel()
    else:
        hub.schedule(Handle(thread.switch))


# Those who wait in `pause`.
_paused = WaitQueue()


def signal(signalnum: int, handler: Any, /) -> Any:
    """``signal.signal``. The handler may block, wherever it runs. May switch, after others have waited for long."""
    before = _set(signalnum, handler)
    _give_way()
    return before


def raise_signal(signalnum: int, /) -> None:
    """``signal.raise_signal``. May switch, after others have waited for long."""
    _originals.raise_signal(signalnum)
    _give_way()


def pthread_sigmask(how: int, mask: Iterable[int], /) -> Any:
    """``signal.pthread_sigmask``. Of a green thread that is not the main one only the arguments are checked.

    It shares its OS thread with the main one, which has to go on getting the signals that a thread blocks for itself.
    """
    current = getcurrent()
    if current.parent is not None and current not in acting_as_main:
        if how not in (_signal.SIG_BLOCK, _signal.SIG_UNBLOCK, _signal.SIG_SETMASK):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        how, mask = _signal.SIG_BLOCK, ()
    return _originals.pthread_sigmask(how, mask)


def _give_way() -> None:
    # A thread that does nothing but change a handler, or send itself a signal, waits for another that does the rest.
    hub = find_hub()
    if hub is not None:
        give_way(hub)


def _set(signalnum: int, handler: Any) -> Any:
    if callable(handler) and not isinstance(handler, int):
        handler = _Caught(handler)
    return _handler_of(_originals.set_signal_handler(signalnum, handler))


def getsignal(signalnum: int, /) -> Any:
    """``signal.getsignal``."""
    return _handler_of(_originals.signal_handler(signalnum))


def _handler_of(installed: Any) -> Any:
    return installed.handler if isinstance(installed, _Caught) else installed


def set_wakeup_fd(fd: int, /, *, warn_on_full_buffer: bool = True) -> int:
    """``signal.set_wakeup_fd``. Whenever the program has none there the hub has its own, of which nothing is told."""
    before = _originals.set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
    if has_hub():
        hub = get_hub()
        if fd == -1:
            hub.take_wakeup_fd()
        if hub.is_wakeup_fd(before):
            return -1
    return before


def adopt() -> None:
    """Let the handlers that were set before block too. In the main OS thread only; elsewhere nothing happens."""
    for signum in _signal.valid_signals():
        handler = _originals.signal_handler(signum)
        if callable(handler) and not isinstance(handler, (_Caught, int)):
            try:
                _set(signum, handler)
            except ValueError:
                return


def pause() -> None:
    """``signal.pause``. May switch."""
    if find_hub() is None:
        _originals.signal_pause()
    else:
        _paused.wait()


def sigtimedwait(sigset: Iterable[int], timeout: float, /) -> Any:
    """``signal.sigtimedwait``. May switch."""
    sigset = list(sigset)
    if find_hub() is None or timeout <= 0:
        return _originals.signal_sigtimedwait(sigset, timeout)
    return _wait_pending(sigset, _originals.monotonic() + timeout)


def sigwaitinfo(sigset: Iterable[int], /) -> Any:
    """``signal.sigwaitinfo``. May switch."""
    sigset = list(sigset)
    return _originals.signal_sigwaitinfo(sigset) if find_hub() is None else _wait_pending(sigset, None)


def sigwait(sigset: Iterable[int], /) -> Any:
    """``signal.sigwait``. May switch."""
    return _signal.Signals(sigwaitinfo(sigset).si_signo)


def _wait_pending(sigset: list[int], deadline: float | None) -> Any:
    pause = _MIN_PAUSE
    while True:
        found = _originals.signal_sigtimedwait(sigset, 0)
        if found is not None:
            return found
        left = pause if deadline is None else deadline - _originals.monotonic()
        if left <= 0:
            return None
        sleep(min(pause, left))
        pause = min(pause * 2, _MAX_PAUSE)


# As the functions for which they stand. What is sent to another process by name is found there, patched or not.
for _each in (
    getsignal,
    pause,
    pthread_sigmask,
    raise_signal,
    set_wakeup_fd,
    signal,
    sigtimedwait,
    sigwait,
    sigwaitinfo,
):
    _each.__module__ = "signal"
