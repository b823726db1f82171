"""How a socket waits: blocking for its user, non-blocking for the system. Knows hubs and modes; moves no bytes.

Facts this rests on:

- ``O_NONBLOCK`` belongs to the open file, which ``dup`` and ``fork`` share (fcntl(2)).
- The C type ``_socket.socket`` waits by itself, in the system, only if its own timeout is not 0.0.

What this means for us: the fd is non-blocking as long as it is ours; the C object's timeout stays 0.0, and
``gettimeout`` answers what the user set.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from select import POLLIN, POLLOUT

from greenlet import getcurrent

from greenserve._originals import allocate_rlock, base_socket, monotonic, poll_type, socket_type
from greenserve._typing import Any, ClassVar, TypeVar, cast
from greenserve.core.hub import Hub, get_hub, thread_state
from greenserve.core.poller import READ, WRITE, Source
from greenserve.core.waiters import sleep, wait_in
from greenserve.errors import ClosedWhileWaiting

__all__ = ["BURST", "ParkingSocket"]

T = TypeVar("T")

_init = socket_type.__init__
_gettimeout = base_socket.gettimeout
_settimeout = base_socket.settimeout

# After so many calls that did not have to wait a green thread looks at the clock, and gives way if the hub has not had
# its turn for so long: a peer that is always faster than us must not keep the others from running.
BURST = 32
_TURN_SECONDS = 0.005

_MAX_TIMEOUT = 2.0**32  # seconds: more than a century, and what every system's clocks can take


class ParkingSocket(socket_type):
    """A ``socket.socket`` that can park green threads, in the hub of whatever OS thread they belong to.

    For subclasses: what a green thread may do in a loop first adds one to ``_burst``, and calls `_give_way` when that
    is over `BURST`. Then it tries; and if it would have blocked, it waits by `_when_readable` or `_when_writable`.
    """

    # What belongs to a connection is in slots: 10,000 idle ones are to cost little.
    __slots__ = ("_burst", "_hub", "_left", "_others", "_source", "_timeout", "_was_blocking")

    _burst: int  # calls since `_give_way` last looked at the clock
    _hub: Hub | None  # the first hub that has waited on it
    _source: Source | None  # its place in that hub's poller
    _others: dict[Hub, Source] | None  # the same for other OS threads' hubs
    _left: bool  # about to be closed or given away: no hub may meet it any more
    _timeout: float | None
    _was_blocking: bool  # the fd when it came to us; True as soon as somebody has set a mode or a timeout

    # Held while a socket meets a hub or leaves all of them: it may be closed in one OS thread while another is about to
    # wait on it. Re-entrant, since a signal handler may close a socket at any moment.
    _meeting: ClassVar[Any] = allocate_rlock()

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._was_blocking = fileno is None or _is_blocking(fileno)
        _init(self, family, type, proto, fileno)
        self._timeout = _gettimeout(self)  # the default timeout, or 0.0 for SOCK_NONBLOCK
        _settimeout(self, 0.0)
        self._burst = 0
        self._hub = None
        self._source = None
        self._others = None
        self._left = False

    # Mode -----------------------------------------------------------------------------------------------------------

    def gettimeout(self) -> float | None:
        """Return the timeout of each operation, in seconds; None waits for ever, 0.0 never waits."""
        return self._timeout

    def settimeout(self, value: float | None, /) -> None:
        """Set the timeout of each operation, in seconds; None waits for ever, 0 never waits.

        Raises:
            ValueError: It is negative, or not a number.
            OverflowError: It is more than a century.
        """
        if value is not None:
            value = value + 0.0  # what is no number has no +
            if not value >= 0.0:
                raise ValueError(f"Timeout value out of range: {value!r}")
            if value > _MAX_TIMEOUT:
                raise OverflowError(f"a timeout of {value!r} s is too large")
        self._timeout = value
        self._was_blocking = True

    def setblocking(self, flag: bool, /) -> None:
        """``settimeout(None)`` if ``flag`` is true, else ``settimeout(0.0)``."""
        self._timeout = None if flag else 0.0
        self._was_blocking = True

    def getblocking(self) -> bool:
        """Whether operations wait."""
        return self._timeout != 0.0

    @property
    def timeout(self) -> float | None:
        """What `gettimeout` returns."""
        return self._timeout

    # Waiting --------------------------------------------------------------------------------------------------------

    def wait_readable(self, timeout: float | None = None) -> bool:
        """Park until there is something to read, the end of the stream included. May switch, unless ``timeout`` is 0.

        For whoever expects to wait: a ``recv`` that fails first costs as much as the wait.

        Returns:
            False if there is nothing after ``timeout`` seconds.
        """
        if timeout is not None and timeout <= 0:
            return _is_ready(self.fileno(), POLLIN)
        return self._wait(READ, timeout)

    def wait_writable(self, timeout: float | None = None) -> bool:
        """Park until something can be sent. As `wait_readable`. May switch, unless ``timeout`` is 0."""
        if timeout is not None and timeout <= 0:
            return _is_ready(self.fileno(), POLLOUT)
        return self._wait(WRITE, timeout)

    def interrupt(self, exc: BaseException) -> None:
        """Raise ``exc`` in the green threads of this OS thread that wait on it now, if there are any."""
        hub = _hub_or_none()
        if hub is None:
            return
        source = self._source if self._hub is hub else (self._others or {}).get(hub)
        if source is not None:
            hub.interrupt(source, exc)

    def _deadline(self) -> float | None:
        return None if self._timeout is None else monotonic() + self._timeout

    def _wait(self, direction: int, timeout: float | None) -> bool:
        """Park until it is ready for ``direction``, in the hub of the OS thread that runs. May switch.

        Returns:
            False if it is not after ``timeout`` seconds.
        """
        try:
            hub = thread_state.hub
        except AttributeError:
            hub = get_hub()
        source: Any = self._source
        if self._hub is not hub or source.closed:
            source = self._meet(hub)
        return wait_in(hub, source, source.readers if direction == READ else source.writers, direction, timeout)

    def _park(self, direction: int, deadline: float | None) -> None:
        """Wait until it is ready for ``direction``, or raise TimeoutError at the deadline. May switch."""
        if not self._wait(direction, None if deadline is None else deadline - monotonic()):
            raise TimeoutError("timed out")

    def _when_readable(self, deadline: float | None, call: Callable[..., T], *args: Any) -> T:
        """Return ``call(self, *args)``, tried each time there is something to read. May switch."""
        while True:
            self._park(READ, deadline)
            try:
                return call(self, *args)
            except BlockingIOError:
                continue  # somebody else was faster

    def _when_writable(self, deadline: float | None, call: Callable[..., T], *args: Any) -> T:
        """Return ``call(self, *args)``, tried each time something can be sent. May switch."""
        while True:
            self._park(WRITE, deadline)
            try:
                return call(self, *args)
            except BlockingIOError:
                continue

    def _give_way(self) -> None:
        """Let others run if they have waited for long. May switch.

        Before a call, never after one: what was received would be lost if the green thread were killed here.
        """
        self._burst = 0
        if self._timeout == 0.0:
            return
        hub = _hub_or_none()  # None: nobody else runs in this OS thread
        if hub is not None and monotonic() - hub.now > _TURN_SECONDS and getcurrent() is not hub.greenlet:
            sleep(0)

    # Hubs -----------------------------------------------------------------------------------------------------------

    def _meet(self, hub: Hub) -> Source:
        with self._meeting:
            others = self._others
            if others is not None and hub in others and not others[hub].closed:
                return others[hub]
            # A source that was closed, and not by us, was that of another socket object over the same fd as well.
            fd = self.fileno()
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            source = hub.poller.source(fd)
            # A hub that is closed was that of a thread which has ended, or of the process that this was forked from.
            if self._hub is None or self._hub is hub or self._hub.closed:
                self._source = source
                self._hub = hub  # last: whoever sees it is the thread of this hub, and finds the source
            elif others is None:
                self._others = {hub: source}
            else:
                for gone in [other for other in others if other.closed]:
                    del others[gone]
                others[hub] = source
            if self._left:
                raise ClosedWhileWaiting(errno.EBADF, "the socket is closed")
            return source

    def _leave(self) -> None:
        """Wake whoever waits, in every hub: the fd is about to be closed or given away."""
        with self._meeting:
            self._left = True
            places = [] if self._hub is None else [(self._hub, cast(Source, self._source))]
            if self._others is not None:
                places += self._others.items()
                self._others = None
        for hub, source in places:
            if not hub.closed:
                hub.close_source(source)

    def detach(self) -> int:
        """Give the fd away, as blocking as it came or was set since. Whoever waits on it gets `ClosedWhileWaiting`."""
        self._leave()
        fd = super().detach()
        if fd >= 0 and self._was_blocking and self._timeout is None:
            os.set_blocking(fd, True)  # what reads it next, such as os.read in another process, counts on that
        return fd

    def _real_close(self, *args: Any) -> None:
        # socket.socket.close() calls this when neither it nor a file of makefile() is in use any more.
        self._leave()
        super()._real_close(*args)  # type: ignore[misc]  # typeshed leaves private methods out


def _is_blocking(fd: int) -> bool:
    try:
        return os.get_blocking(fd)
    except (OSError, TypeError, OverflowError):
        return True  # what is wrong with it others say better


def _hub_or_none() -> Hub | None:
    """The hub of this OS thread, if it has one."""
    try:
        return thread_state.hub
    except AttributeError:
        return None


def _is_ready(fd: int, event: int) -> bool:
    """Whether ``event``, an error or the end of the stream is there now."""
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    poll = poll_type()
    poll.register(fd, event)
    return bool(poll.poll(0))


def _renew_lock() -> None:
    ParkingSocket._meeting = allocate_rlock()


os.register_at_fork(after_in_child=_renew_lock)
