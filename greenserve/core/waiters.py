"""Waiting: the one way to park, and the one fair queue under every blocking primitive.

A wake-up is a token that looks at its waiter's state when it runs, never a bare ``greenlet.switch``: between the
wake-up and its turn the green thread may have been killed or timed out and be parked elsewhere by then. Here the state
is `Handle.fire`, which a waiter clears when it stops waiting.

Locks and queues may be shared between OS threads. Taking a waiter out of a `WaitQueue` is one atomic step, and whoever
took it out owes it its wake-up, so that exactly one of "woken" and "gave up" is true however the two race.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable

from greenlet import getcurrent

from greenserve._originals import allocate_lock, monotonic
from greenserve._typing import Any
from greenserve.core.hub import Hub, get_hub, in_main_thread, thread_state
from greenserve.core.poller import READ, WRITE, Source
from greenserve.core.timers import Handle
from greenserve.errors import ClosedWhileWaiting, HubError

__all__ = ["NativeWaiter", "WaitQueue", "Waiter", "new_waiter", "sleep", "wait_readable", "wait_writable"]

_CLOSED_TEXT = "the file descriptor is closed"

# Handle() without the call of its __init__, which is a tenth of a switch.
_new = object.__new__


def _check_may_park(hub: Hub) -> None:
    if getcurrent() is hub.greenlet:
        raise HubError(
            "a callback of the hub or a signal handler can't block: "
            "do the work in a green thread of its own, greenserve.spawn(function)"
        )


class Waiter(Handle):
    """One wait of one green thread. Scheduled in its hub, it resumes that green thread.

    Attributes:
        notified: Whether the wait is over, even if its green thread has not run since.
    """

    __slots__ = ("hub", "notified")

    def __init__(self, hub: Hub) -> None:
        current = getcurrent()
        if current is hub.greenlet:
            _check_may_park(hub)
        self.hub = hub
        self.notified = False
        self.fire: Callable[[], Any] | None = current.switch

    def notify(self) -> bool:
        """Resume the green thread in its hub's next round. From any OS thread.

        False when it never will, since its hub is closed: its OS thread has ended, or stayed behind in a fork's parent.
        """
        hub = self.hub
        if hub.closed:
            return False
        self.notified = True
        hub.schedule(self)
        return True

    def park(self, timeout: float | None = None) -> bool:
        """Wait until notified. False when ``timeout`` seconds went by first. Raises what is thrown in. May switch."""
        hub = self.hub
        try:
            # Whatever resumes this green thread without having notified us meant another wait: that of a finalizer or
            # a signal handler which came between the making of this waiter and its parking, and had to wait itself.
            if timeout is None:
                while not self.notified:
                    hub.switch()
                return True
            timer = Handle(self.fire)
            hub.timers.add(monotonic() + timeout, timer)
            try:
                while not self.notified:
                    if timer.fire is None:
                        return False
                    hub.switch()
                return True
            finally:
                hub.timers.cancel(timer)
        finally:
            self.fire = None


class NativeWaiter(Handle):
    """One wait of an OS thread that has no hub: it sleeps in the operating system."""

    __slots__ = ("_lock", "_process")

    def __init__(self) -> None:
        self._process = os.getpid()
        lock = allocate_lock()
        lock.acquire()
        self._lock = lock
        self.fire: Callable[[], Any] | None = lock.release

    def notify(self) -> bool:
        """Wake the OS thread. From any OS thread, once. False when it stayed behind in a fork's parent."""
        if self._process != os.getpid():
            return False
        self._lock.release()
        return True

    def park(self, timeout: float | None = None) -> bool:
        """Block this OS thread until notified. False when ``timeout`` seconds went by first."""
        return self._lock.acquire(True, -1 if timeout is None else max(0.0, timeout))


def new_waiter() -> Waiter | NativeWaiter:
    """A waiter for whoever runs: a green thread where there is a hub, otherwise the OS thread as such.

    Raises:
        HubError: The hub itself runs: a callback can't block.
    """
    try:
        hub = thread_state.hub
    except AttributeError:
        pass
    else:
        return Waiter(hub)
    # An OS thread that only takes a lock now and then needs no hub, with its three fds, for that.
    if in_main_thread() or getcurrent().parent is not None:
        return Waiter(get_hub())
    return NativeWaiter()


class WaitQueue(deque["Waiter | NativeWaiter"]):
    """Waiters, first come first served, woken from any OS thread. True while somebody waits.

    The protocol of everything that blocks is: try; `enter`; try again, since it may have become possible in between;
    park; and when the wait ends by a timeout or an exception, `leave`, whose answer says whether a wake-up came at the
    last moment.
    """

    # A deque itself, since whoever lets go of something asks first whether anybody waits: that must cost nothing.
    __slots__ = ()

    def enter(self) -> Waiter | NativeWaiter:
        """Queue whoever runs, and return its waiter."""
        waiter = new_waiter()
        self.append(waiter)  # atomic: deque.append
        return waiter

    def leave(self, waiter: Waiter | NativeWaiter) -> bool:
        """Stop waiting. False when somebody has already taken it out to wake it: what it was given is the caller's."""
        try:
            self.remove(waiter)  # atomic: identity comparison in C
        except ValueError:
            return False
        finally:
            waiter.fire = None
        return True

    def wake(self) -> bool:
        """Wake the one who has waited longest. False when nobody waits."""
        while self:
            try:
                waiter = self.popleft()  # atomic: deque.popleft
            except IndexError:
                break
            if waiter.notify():
                return True
        return False

    def wake_all(self) -> int:
        """Wake everybody who waits now, in order. Returns how many."""
        woken = 0
        for _ in range(len(self)):
            woken += self.wake()
        return woken

    def wait(self, timeout: float | None = None) -> bool:
        """Queue and park. True when woken, False when ``timeout`` seconds went by first. May switch."""
        return self.finish(self.enter(), timeout)

    def finish(
        self, waiter: Waiter | NativeWaiter, timeout: float | None = None, pass_on: Callable[[], Any] | None = None
    ) -> bool:
        """Park a waiter that `enter` returned. True when woken, even at the last moment. May switch.

        An exception that is thrown in comes out. If a wake-up had come by then, ``pass_on()`` first gives what it
        brought to somebody else; by default the next in the queue is woken.
        """
        try:
            if waiter.park(timeout):
                return True
        except BaseException:
            if not self.leave(waiter):
                (pass_on or self.wake)()
            raise
        return not self.leave(waiter)


def wait_readable(source: Source, timeout: float | None = None) -> bool:
    """Park until ``source`` is readable. False when ``timeout`` seconds went by first. May switch.

    Raises:
        ClosedWhileWaiting: It was closed meanwhile.
        OSError: EBADF.
    """
    return wait_in(thread_state.hub, source, source.readers, READ, timeout)


def wait_writable(source: Source, timeout: float | None = None) -> bool:
    """Park until ``source`` is writable. As `wait_readable`."""
    return wait_in(thread_state.hub, source, source.writers, WRITE, timeout)


def wait_in(hub: Hub, source: Source, queue: list[Handle], direction: int, timeout: float | None) -> bool:
    """Park until ``hub`` finds ``source`` ready for ``direction``; its waiters are in ``queue``. As `wait_readable`."""
    current: Any = getcurrent()
    if current is hub.greenlet:
        _check_may_park(hub)
    if source.closed:
        raise ClosedWhileWaiting(errno.EBADF, _CLOSED_TEXT)
    handle = _new(Handle)
    handle.fire = current.switch
    del current  # a traceback that a green thread keeps of its own end must not lead back to it
    queue.append(handle)
    try:
        if not source.mask & direction and not source.poller.want(source, direction):
            queue.remove(handle)
            sleep(0)  # always ready: give the others a turn and go on
            return True
        # What resumes it before its handle has run meant another wait, as in Waiter.park.
        if timeout is None:
            while handle.fire is not None:
                hub.switch()
            return True
        timer = Handle(handle.fire)
        hub.timers.add(monotonic() + timeout, timer)
        try:
            while handle.fire is not None:
                if timer.fire is None and handle in queue:
                    queue.remove(handle)
                    return False
                hub.switch()
            return True
        finally:
            hub.timers.cancel(timer)
    except BaseException:
        if handle in queue:
            queue.remove(handle)
        raise
    finally:
        handle.fire = None


def sleep(seconds: float = 0) -> None:
    """Let others run, and go on no sooner than in ``seconds`` seconds. May switch.

    Raises:
        TypeError: ``seconds`` is no number that can be added to a time.
        ValueError: ``seconds`` is NaN.
    """
    try:
        deadline = None if seconds == 0 or seconds < 0 else monotonic() + seconds
    except TypeError as exc:
        raise TypeError(f"sleep({seconds!r}): give a number of seconds, such as sleep(0.5)") from exc
    try:
        hub = thread_state.hub
    except AttributeError:
        hub = get_hub()
    current: Any = getcurrent()
    if current is hub.greenlet:
        _check_may_park(hub)
    handle = _new(Handle)
    handle.fire = current.switch
    del current  # as in wait_in
    if deadline is None:
        hub.ready.append(handle)
        try:
            while handle.fire is not None:
                hub.switch()
        except BaseException:
            handle.fire = None
            raise
        return
    hub.timers.add(deadline, handle)
    try:
        while handle.fire is not None:
            hub.switch()
    except BaseException:
        hub.timers.cancel(handle)
        raise
