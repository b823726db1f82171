"""The run loop of one OS thread: what is ready, what is due, what has become readable. Knows no green threads.

Everything that is to run is a `Handle` in one queue, `Hub.ready`. Appending to it is one atomic step, so that other
OS threads and signal handlers use the same path as green code: append, and if the hub is inside its poll, poke it.

Two threads can't miss each other: the hub says that it polls *before* it looks at the queue for the last time, and the
other side appends *before* it looks whether the hub polls.

Facts about signals (CPython's signal module): the handler written in Python runs in the main thread, between two
bytecodes or inside a poll that the signal interrupted; poll is then resumed (PEP 475) unless the handler raised. A
signal that another thread received, or that came just before the poll, does not interrupt it: only a byte in the
wake-up fd does. ``set_wakeup_fd`` has one place, which asyncio takes and gives up again.
What this means for us: a handler's schedule() pokes like everybody's, what it raises is raised in the main greenlet,
and we take the place of the wake-up fd only where nobody has it.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import methodcaller

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve._log import get_logger
from greenserve._originals import (
    allocate_lock,
    get_ident,
    monotonic,
    os_close,
    os_pipe,
    os_read,
    os_write,
    set_wakeup_fd,
    thread_local,
)
from greenserve._typing import Any, NoReturn
from greenserve.core.poller import Backend, Poller, Source, make_backend
from greenserve.core.report import describe_parked
from greenserve.core.timers import Handle, Timer, Timers
from greenserve.errors import ClosedWhileWaiting, DeadlockError, HubError

__all__ = ["Hub", "all_hubs", "bystanders", "get_hub", "has_hub", "in_main_thread", "thread_state", "use_hub"]

log = get_logger("greenserve.core")

# While green threads keep each other busy, fds and deadlines get their turn at least this often, in seconds.
# A poll costs as much as a switch, so one for each round would double the cost of a busy program.
_POLL_INTERVAL = 0.0005

# The system's own limit is 24 days for some selectors. Whoever sleeps longer costs one idle round a day.
_LONGEST_POLL = 86400.0

# Whether there is a deadlock is asked once nothing has come for so long, in seconds: the answer costs more than a poll,
# and a native thread that was started a moment ago has run no Python yet, so that nothing tells of it.
_DEADLOCK_GRACE = 0.05

# Those of the hub's own attribute, and of the call that asks.
_REFS_WITHOUT_CHILDREN = 2

# How long the end of the process waits for the hubs of other threads, in seconds. Those that wait take microseconds;
# one that does not come may have its thread blocked, or computing.
_HOLD_TIMEOUT = 0.1

_CLOSED_TEXT = "closed by another green thread while this one waited on it"


class Hub:
    """Runs the handles of one OS thread, in a greenlet of its own whose parent is the main greenlet.

    Attributes:
        ready: What runs next, in order. Append through `schedule` alone.
        timers: What runs at a deadline, in seconds of `time.monotonic`.
        poller: What runs when an fd is ready.
        native_calls: How many calls in native threads will wake green threads of this hub. Changed in this thread only.
        now: The monotonic time when the hub last looked, in seconds. Cheap, and at most one round old.
        joiners: Who waits for the end of which green thread.
        main: The greenlet that gets KeyboardInterrupt, SystemExit and DeadlockError.
        greenlet: The hub's own greenlet, parent of every green thread.
        thread_id: The OS thread's number, as ``_thread.get_ident`` has it.
        switch: Parks the caller: control comes back when something fires the caller's handle. Only waiters call it.
    """

    def __init__(self, backend: Backend | None = None, main: greenlet | None = None) -> None:
        self.main = _root_of(getcurrent()) if main is None else main
        self.thread_id = get_ident()
        self.ready: deque[Handle] = deque()
        self.timers = Timers()
        self.joiners: dict[greenlet, Any] = {}
        self.poller = Poller(backend if backend is not None else make_backend(_chosen_backend()))
        self.now = monotonic()
        self.closed = False
        self.native_calls = 0
        self._polling = False
        self._wakeable = False  # somebody outside may hold our call_soon_threadsafe
        self._wake_read, self._wake_write = os_pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._wake_source = self.poller.source(self._wake_read)
        self._wake_source.readers.append(Handle(self._on_poke))
        self.poller.want(self._wake_source, 1)
        self.greenlet = greenlet(self._run, self.main)
        self.switch: Callable[[], Any] = self.greenlet.switch
        self.take_wakeup_fd()

    # Scheduling ------------------------------------------------------------------------------------------------

    def schedule(self, handle: Handle) -> None:
        """Run ``handle`` in the next round. From any OS thread, from signal handlers, from callbacks."""
        self.ready.append(handle)  # atomic: deque.append
        if self._polling:
            self._poke()

    def call_soon(self, function: Callable[..., Any], *args: Any) -> Handle:
        """Run ``function(*args)`` in the hub, in the next round. It must not block."""
        handle = Handle(partial(_call, function, *args))
        self.schedule(handle)
        return handle

    def call_at(self, deadline: float, function: Callable[..., Any], *args: Any) -> Handle:
        """Run ``function(*args)`` in the hub once ``deadline``, in monotonic seconds, is over. This thread only."""
        handle = Timer(self.timers, partial(_call, function, *args))
        self.add_timer(deadline, handle)
        return handle

    def add_timer(self, deadline: float, handle: Handle) -> None:
        """Run ``handle`` once ``deadline``, in monotonic seconds, is over. This thread only, or a signal handler."""
        self.timers.add(deadline, handle)
        if self._polling:
            self._poke()  # a signal handler interrupted the poll, which does not know of this deadline

    def call_later(self, delay: float, function: Callable[..., Any], *args: Any) -> Handle:
        """Run ``function(*args)`` in the hub in ``delay`` seconds. This thread only."""
        return self.call_at(monotonic() + delay, function, *args)

    @property
    def call_soon_threadsafe(self) -> Callable[..., Handle]:
        """`call_soon`, for whoever is outside this thread.

        Who has asked for it may use it at any time, so that this hub never again takes itself to be deadlocked.
        """
        self._wakeable = True
        return self.call_soon

    def throw_in_main(self, exc: BaseException) -> None:
        """Raise ``exc`` in the main greenlet, where it is parked; at once if that is what runs.

        Before all that is ready: the wait that it interrupts may be about to end, and the next one may be far.
        """
        if getcurrent() is self.main:
            raise exc
        # The loop takes a handle out by place, but makes no call between looking and taking where one could come in.
        self.ready.appendleft(Handle(partial(self.main.throw, exc)))  # atomic: deque.appendleft
        if self._polling:
            self._poke()

    def close_source(self, source: Source) -> None:
        """Forget an fd before it is closed, and raise `ClosedWhileWaiting` in all who wait on it. From any thread."""
        if source.close():
            self.call_soon(self._tell_closed, source)

    def interrupt(self, source: Source, exc: BaseException) -> None:
        """Raise ``exc`` in all who wait on ``source`` now. This thread only."""
        for handle in source.take_waiters():
            self.call_soon(_raise_in, handle, exc)

    def _tell_closed(self, source: Source) -> None:
        for handle in source.take_waiters():
            self.call_soon(_raise_in, handle, ClosedWhileWaiting(errno.EBADF, _CLOSED_TEXT))

    # The loop --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        while not self.closed:
            try:
                # A loop in a loop: if two signals come at once, the second handler raises as soon as the first one's
                # exception is caught, at the jump that ends the loop. No try inside covers that.
                while not self.closed:
                    try:
                        if error is not None:
                            failed, error = error, None
                            self._handle_error(failed)
                            del failed
                        self._loop()
                    except GreenletExit:
                        pass  # the end of a greenlet that is not ours, or of this one
                    except BaseException as exc:  # noqa: BLE001 - the main greenlet is told, whatever it is
                        error = exc
            except BaseException as exc:  # noqa: BLE001 - as above
                error = exc
        if error is not None and not isinstance(error, Exception):
            raise error  # SystemExit of a callback that forked, in the child. An Exception is the closed poll's

    def _loop(self) -> None:
        ready = self.ready
        timers = self.timers
        heap = timers.heap
        poller = self.poller
        next_poll = 0.0
        quiet = False  # nothing came for a moment, though nothing was left to come by itself
        while not self.closed:
            if ready:
                # Only what is there now: what these add waits for the next round, after the poll.
                last = ready[-1]
                while ready:
                    # Not popleft: a signal handler may raise after any call, and what was taken out would be lost.
                    handle = ready[0]
                    fire = handle.fire
                    del ready[0]
                    if fire is not None:
                        handle.fire = None  # before it runs: whoever waits for it sees that it need not park
                        fire()
                    if handle is last:
                        break
            if ready or heap:
                self.now = now = monotonic()
                if heap:
                    timers.move_due(now, ready)
                if ready:
                    if now < next_poll:
                        continue
                    next_poll = now + _POLL_INTERVAL
                    poller.poll(0, ready)
                    continue
                deadline = timers.next_deadline()
                timeout = None if deadline is None else min(max(0.0, deadline - now), _LONGEST_POLL)
            else:
                timeout = None
            if timeout is None:
                if not quiet:
                    timeout = _DEADLOCK_GRACE
                elif not self._can_be_woken():
                    raise DeadlockError(
                        "nothing is left that could wake the main greenlet: no timer, no fd, no other thread.\n"
                        + describe_parked(self.greenlet)
                    )
            self._polling = True
            try:
                # Looking again after saying so is what makes schedule() safe from other threads.
                poller.poll(0 if ready else timeout, ready)
            finally:
                self._polling = False
            quiet = not ready and timeout is _DEADLOCK_GRACE
            self.now = now = monotonic()
            next_poll = now + _POLL_INTERVAL

    def _handle_error(self, exc: BaseException) -> None:
        if not self.closed and not self._wake_source.readers:
            self._on_poke()  # a signal handler's exception may have come in the middle of it
        # What a signal handler raised, SystemExit, DeadlockError, a failure of the selector: the main greenlet's.
        self.main.throw(exc)

    def _can_be_woken(self) -> bool:
        """Whether anything but a handle of our own could still end a poll without timeout."""
        return (
            self._wakeable
            or self.native_calls > 0  # a thread that has only just been started has no frame to be seen by
            or self.poller.is_waiting(besides=self._wake_source)
            or len(sys._current_frames().keys() - bystanders) > 1  # another native thread of Python's
            or _has_signal_handler()
        )

    # Waking the poll -------------------------------------------------------------------------------------------

    def _poke(self) -> None:
        self._polling = False  # one byte is enough
        with suppress(OSError):  # full: it will wake anyway. Closed: nobody is left to wake
            os_write(self._wake_write, b"\0")

    def _on_poke(self) -> None:
        with suppress(BlockingIOError):
            os_read(self._wake_read, 4096)
        self._wake_source.readers.append(Handle(self._on_poke))

    def take_wakeup_fd(self) -> None:
        """Be woken by signals, if nobody else is. In the main OS thread; elsewhere nothing happens."""
        global _our_wakeup_fd  # noqa: PLW0603 - there is one for the process
        try:
            previous = set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        except ValueError:
            return  # not the main thread: signals are none of our business
        if previous == -1 or not _put_back_wakeup_fd(previous):
            _our_wakeup_fd = self._wake_write

    def is_wakeup_fd(self, fd: int) -> bool:
        """Whether ``fd`` is the one that `take_wakeup_fd` puts there."""
        return fd == self._wake_write

    def _give_back_wakeup_fd(self) -> None:
        try:
            current = set_wakeup_fd(-1)
        except ValueError:
            return
        if current not in (-1, self._wake_write):
            _put_back_wakeup_fd(current)

    # Ending ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Release the fds. Nothing runs here any more, and waiting raises HubError. Idempotent.

        Called by the main greenlet, as at the end of an OS thread, it raises GreenletExit in all that are parked here.
        """
        if self.closed:
            return
        self.closed = True
        _hubs.discard(self)  # atomic: set.discard
        self.switch = _refuse_to_park
        self._give_back_wakeup_fd()
        self.poller.close()
        fds = self._wake_read, self._wake_write
        self._wake_read = self._wake_write = -1  # first: who pokes a moment later must not write into somebody's file
        for fd in fds:
            os_close(fd)
        if getcurrent() is self.main:  # not so in a forked child, where another OS thread's may not run any more
            self._end_parked()

    def _end_parked(self) -> None:
        # They and the hub's greenlet hold one another through their stacks, where no collector looks.
        self.greenlet.throw(GreenletExit)
        if sys.getrefcount(self.greenlet) > _REFS_WITHOUT_CHILDREN:
            thread_state.hub = self  # what runs now would make another one for an OS thread that is ending
            for child in gc.get_referrers(self.greenlet):
                if isinstance(child, greenlet) and not child.dead:
                    try:
                        child.throw(GreenletExit)
                    except Exception as exc:
                        log.error("a green thread failed while it was ended", exc_info=exc)
            del thread_state.hub
        self.ready.clear()
        self.timers.heap.clear()

    @property
    def is_polling(self) -> bool:
        """Whether it waits in its poll. From any OS thread; False a moment too early for one that is being woken."""
        return self._polling

    def is_idle(self) -> bool:
        """Whether nothing is scheduled and nobody waits or may call, so that the hub could be replaced."""
        return not (
            self.ready or len(self.timers) or self._wakeable or self.poller.is_waiting(besides=self._wake_source)
        )


def _call(function: Callable[..., Any], *args: Any) -> None:
    """The edge of a callback. What else comes out of a handle was raised by a signal handler: the main greenlet's."""
    try:
        function(*args)
    except Exception as exc:
        log.error("a callback of the hub failed: %r", function, exc_info=exc)


def _refuse_to_park() -> NoReturn:
    raise HubError("this OS thread's hub is closed: nobody could wake who waits here")


def _put_back_wakeup_fd(fd: int) -> bool:
    """Give the place to whoever had it. False when that fd is closed, or blocking."""
    try:
        set_wakeup_fd(fd, warn_on_full_buffer=False)
    except (ValueError, OSError):
        return False
    return True


def _raise_in(handle: Handle, exc: BaseException) -> None:
    """Raise ``exc`` where whoever waits for ``handle`` is parked, if it still waits."""
    fire, handle.fire = handle.fire, None
    parked = getattr(fire, "__self__", None)
    if isinstance(parked, greenlet):
        parked.throw(exc)
    elif fire is not None:
        fire()  # a callback: it finds out by itself


def _root_of(current: greenlet) -> greenlet:
    while current.parent is not None:
        current = current.parent
    return current


def in_main_thread() -> bool:
    """Whether this is the OS thread that signal handlers run in."""
    return get_ident() == _main_thread_id


def _has_signal_handler() -> bool:
    """Whether a handler written in Python could run in this thread and schedule something."""
    if not in_main_thread():
        return False
    own = signal.default_int_handler  # raises KeyboardInterrupt, wakes nobody
    return any(callable(handler) and handler is not own for handler in map(signal.getsignal, signal.valid_signals()))


# One hub for each OS thread ----------------------------------------------------------------------------------------


class _Owner:
    """Closes a thread's hub when the thread's locals go, since a parked hub can't be collected in time."""

    __slots__ = ("hub",)

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the process the system takes the fds, and our globals may be gone already.
        if not is_finalizing():
            self.hub.close()


class _ThreadState(thread_local):
    """What belongs to one OS thread."""

    hub: Hub
    owner: _Owner
    backend_name: str | None = None


thread_state = _ThreadState()
# Whoever imports us need not be the main thread.
_main_thread_id = threading.main_thread().ident
# The wake-up fd of signals is one for the process: what we put there last.
_our_wakeup_fd = -1
# Those in use, for whoever looks at the whole process.
_hubs: set[Hub] = set()
# Numbers of native threads that only look, and never wake anybody: a deadlock is one in spite of them.
bystanders: set[int] = set()


def _chosen_backend() -> str | None:
    return thread_state.backend_name or os.environ.get("GREENSERVE_SELECTOR") or None


def get_hub() -> Hub:
    """Return the hub of this OS thread, made on first use."""
    try:
        return thread_state.hub
    except AttributeError:
        return _install(Hub())


def has_hub() -> bool:
    """Whether this OS thread has a hub already."""
    return hasattr(thread_state, "hub")


def all_hubs() -> list[Hub]:
    """Return the hubs of all OS threads. From any OS thread."""
    return list(_hubs)  # atomic: list of a set


def _install(hub: Hub) -> Hub:
    _hubs.add(hub)  # atomic: set.add
    thread_state.hub = hub
    thread_state.owner = _Owner(hub)
    return hub


def use_hub(selector: str | None = None) -> None:
    """Let this OS thread's hub use ``selector``: "epoll", "kqueue", "poll", "select", or None for the best.

    Raises:
        HubError: This system has no such selector, or the hub is in use already.
    """
    backend = make_backend(selector)
    if has_hub():
        old = thread_state.hub
        if getcurrent() is not old.main or not old.is_idle():
            backend.close()
            raise HubError("use_hub() after green threads were started: call it first, or set GREENSERVE_SELECTOR")
        old.close()
        del thread_state.hub
    thread_state.backend_name = backend.name
    _install(Hub(backend))


# fork ---------------------------------------------------------------------------------------------------------------

# What was parked in the parent stays referenced in a child for good: a greenlet that is collected while
# parked runs its ``finally`` blocks, and those belong to the parent.
_left_behind: list[object] = []


def _after_fork_in_child() -> None:
    """Only the greenlet that forked lives on, as the main one, with a hub and a selector of its own."""
    global _main_thread_id  # noqa: PLW0603 - the fork has changed it
    _main_thread_id = get_ident()
    # A signal to the child must not wake the parent, nor be written to whatever gets the number of a closed pipe.
    wakeup_fd = set_wakeup_fd(-1)
    if wakeup_fd not in (-1, _our_wakeup_fd):
        _put_back_wakeup_fd(wakeup_fd)
    _hubs.clear()
    bystanders.clear()
    if not has_hub():
        return
    old = thread_state.hub
    _left_behind.extend((old, list(old.ready), gc.get_referrers(old.greenlet)))
    for index in range(len(old.ready)):  # the fork may have been in the middle of its round
        old.ready[index] = Handle(None)
    old.closed = True  # keeps its loop from going on, and its owner from closing fds by number
    current = getcurrent()
    if current is not old.main:
        end = greenlet(_end_of_child, old.main)
        end.switch(current)
        current.parent = end
    for fd in (old._wake_read, old._wake_write):
        os_close(fd)
    old.poller.close()
    _install(Hub(main=current))


def _end_of_child(child: greenlet) -> NoReturn:
    """End the process when the green thread that forked ends: there is nothing to go back to."""
    status = 1
    try:
        child.switch()  # back to the fork, for now
        status = 0
    except SystemExit as exc:
        if exc.code is None:
            status = 0
        elif isinstance(exc.code, int):
            status = exc.code
        else:
            sys.stderr.write(f"{exc.code}\n")
    except BaseException as exc:  # noqa: BLE001 - the edge of the process
        sys.excepthook(type(exc), exc, exc.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF)


os.register_at_fork(after_in_child=_after_fork_in_child)


# The end of the process ---------------------------------------------------------------------------------------------


def _hold_other_threads() -> None:
    """Let daemon threads wait, in their hubs, for what never comes, while the interpreter ends.

    CPython before 3.14 ends a thread that wants the GIL by then with ``pthread_exit``, which unwinds its C stack. Below
    a greenlet's frames there is the stack of another one, or none: the process would crash. A thread that waits in C
    asks for nothing any more.
    """
    end = allocate_lock()
    end.acquire()
    held = []
    for hub in all_hubs():
        if hub.thread_id != get_ident():
            is_held = allocate_lock()
            is_held.acquire()
            # any() calls both with no bytecode between them, where the thread could be left without the GIL.
            hub.call_soon(any, map(methodcaller("__call__"), (is_held.release, end.acquire)))
            held.append(is_held)
    deadline = monotonic() + _HOLD_TIMEOUT
    for is_held in held:
        is_held.acquire(timeout=max(0.0, deadline - monotonic()))


# Runs when all threads that are no daemons have ended.
atexit.register(_hold_other_threads)
