"""``eventlet.green.zmq``: ZeroMQ by pyzmq, whose sockets wait in the hub. The one module about pyzmq.

Fact this rests on (libzmq's manual, ``ZMQ_FD`` and ``ZMQ_EVENTS``): a socket's fd is edge-triggered and becomes
readable when the socket's events *may* have changed; whoever sends or receives has to look at the events again, since
either takes the edge away.

What this means for us: whoever waits looks again at least now and then, and whoever sends or receives wakes the others
that wait on the same socket.
"""

from __future__ import annotations

from typing import Any

import zmq as _native

from greenserve._originals import monotonic
from greenserve.compat.eventlet._face.patcher import slurp_properties
from greenserve.core.hub import get_hub
from greenserve.core.waiters import WaitQueue, wait_readable
from greenserve.errors import ClosedWhileWaiting
from greenserve.sync.locks import RLock

__patched__ = ["Context", "Socket"]

_zmq: Any = _native

slurp_properties(_zmq, globals(), srckeys=dir(_zmq))

# An edge that somebody else has taken away costs no more than this, in seconds.
_LOOK_AGAIN = 0.1


class Socket(_zmq.Socket):  # type: ignore[misc]  # pyzmq has types only where it is installed
    """``zmq.Socket``, whose sending and receiving let others run. Several green threads may use it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        object.__setattr__(self, "_green_source", None)
        object.__setattr__(self, "_green_turn", WaitQueue())
        # First come first served, and no part of another message in between.
        object.__setattr__(self, "_green_sending", RLock())
        object.__setattr__(self, "_green_receiving", RLock())

    def _green_call(self, call: Any, event: int, timeout_option: int, flags: int, *args: Any, **kwargs: Any) -> Any:
        """Return ``call(*args)``, tried each time that ``event`` may be there. May switch."""
        if flags & _zmq.NOBLOCK:
            try:
                return call(*args, flags=flags, **kwargs)
            finally:
                self._green_turn.wake_all()
        limit = self.getsockopt(timeout_option)
        deadline = None if limit < 0 else monotonic() + limit / 1000
        while True:
            try:
                result = call(*args, flags=flags | _zmq.NOBLOCK, **kwargs)
            except _zmq.Again as exc:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    exc.is_timeout = True
                    raise
                self._green_wait(event, left)
            else:
                self._green_turn.wake_all()  # the edge may have been theirs
                return result

    def _green_wait(self, event: int, left: float | None) -> None:
        if self.getsockopt(_zmq.EVENTS) & event:
            return
        seconds = _LOOK_AGAIN if left is None else min(left, _LOOK_AGAIN)
        source: Any = self._green_source
        if source is not None and source.readers:
            self._green_turn.wait(seconds)  # another one waits on the fd already
            return
        if source is None or source.closed:
            source = get_hub().poller.source(self.getsockopt(_zmq.FD))
            object.__setattr__(self, "_green_source", source)
        try:
            wait_readable(source, seconds)
        except ClosedWhileWaiting:
            pass  # the next try says so in ZeroMQ's words
        self._green_turn.wake_all()

    def send(self, data: Any, flags: int = 0, copy: bool = True, track: bool = False, **kwargs: Any) -> Any:
        """Send one part of a message. May switch."""
        with self._green_sending:
            return self._green_call(
                super().send, _zmq.POLLOUT, _zmq.SNDTIMEO, flags, data, copy=copy, track=track, **kwargs
            )

    def send_multipart(self, msg_parts: Any, flags: int = 0, copy: bool = True, track: bool = False, **kw: Any) -> Any:
        """Send a message of several parts. May switch."""
        with self._green_sending:
            return super().send_multipart(msg_parts, flags, copy, track, **kw)

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """Receive one part of a message. May switch."""
        with self._green_receiving:
            return self._green_call(super().recv, _zmq.POLLIN, _zmq.RCVTIMEO, flags, copy=copy, track=track)

    def recv_multipart(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """Receive a message of several parts. May switch."""
        with self._green_receiving:
            return super().recv_multipart(flags, copy, track)

    def close(self, linger: int | None = None) -> None:
        """Close it. Whoever waits on it is woken."""
        source = self._green_source
        if source is not None and not source.closed:
            get_hub().close_source(source)
        object.__setattr__(self, "_green_source", None)
        super().close(linger)


class Context(_zmq.Context):  # type: ignore[misc]  # as above
    """``zmq.Context``, which makes green sockets."""

    _socket_class = Socket
