"""``eventlet.greenio.base``: green sockets that can stand around another socket, which they have as ``fd``.

eventlet's green socket has a socket; ours is one. What is asked of ``fd`` is answered by a view of ours that never
waits, and a socket that was given to the constructor stays the owner of its file descriptor.
"""

from __future__ import annotations

import errno
import os
import socket
import warnings
from typing import Any

from greenserve._originals import base_socket, default_timeout, socket_type
from greenserve.compat.eventlet._face.hubs import IOClosed, hub, trampoline
from greenserve.core.hub import get_hub
from greenserve.core.poller import READ
from greenserve.net import sockets
from greenserve.net.parking import ParkingSocket

__all__ = [
    "CONNECT_ERR",
    "CONNECT_SUCCESS",
    "SOCKET_BLOCKING",
    "SOCKET_CLOSED",
    "SSL",
    "_GLOBAL_DEFAULT_TIMEOUT",
    "GreenSocket",
    "set_nonblocking",
    "shutdown_safe",
    "socket_timeout",
]

CONNECT_ERR = {errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK}
CONNECT_SUCCESS = {0, errno.EISCONN}
SOCKET_BLOCKING = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOTCONN}
SOCKET_CLOSED = {errno.ECONNRESET, errno.ESHUTDOWN, errno.EPIPE}

_GLOBAL_DEFAULT_TIMEOUT = default_timeout

socket_timeout = TimeoutError


class SSL:
    """The names of pyOpenSSL's exceptions, for those who catch them."""

    class WantWriteError(Exception):
        """pyOpenSSL's, which is not used here."""

    class WantReadError(Exception):
        """pyOpenSSL's, which is not used here."""

    class ZeroReturnError(Exception):
        """pyOpenSSL's, which is not used here."""

    class SysCallError(Exception):
        """pyOpenSSL's, which is not used here."""


class _Descriptor:
    """What eventlet has as ``fd`` of a green socket: the same socket, which never waits."""

    __slots__ = ("__weakref__", "_sock")

    def __init__(self, sock: sockets.GreenSocket) -> None:
        self._sock = sock

    def gettimeout(self) -> float:
        """0.0: it is non-blocking."""
        return 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """A socket for the next connection, and its peer's address; BlockingIOError if there is none."""
        fd, address = base_socket._accept(self._sock)  # type: ignore[attr-defined]  # typeshed leaves it out
        return socket_type(self._sock.family, self._sock.type, self._sock.proto, fd), address

    def dup(self) -> socket.socket:
        """Another socket for the same file."""
        return socket_type(self._sock.family, self._sock.type, self._sock.proto, os.dup(self._sock.fileno()))

    def __getattr__(self, name: str) -> Any:
        native = getattr(base_socket, name, None)
        if name not in {"close", "detach"} and callable(native):
            return native.__get__(self._sock)
        return getattr(self._sock, name)

    def __repr__(self) -> str:
        return f"<the fd of {self._sock!r}>"


class _Kind(type):
    """Every green socket is an instance of `GreenSocket`, those of patched programs too."""

    def __instancecheck__(cls, instance: object) -> bool:
        if cls.__name__ == "GreenSocket":
            return isinstance(instance, ParkingSocket)
        return super().__instancecheck__(instance)


class GreenSocket(sockets.GreenSocket, metaclass=_Kind):
    """As `greenserve.GreenSocket`.

    Args:
        family: An address family, or a socket to stand around: it goes on to own its file, and is closed with this.
        set_nonblocking: Whether to make the file non-blocking. That is done in every case.
    """

    __slots__ = ("__dict__", "_inner")

    _inner: Any

    def __init__(self, family: Any = socket.AF_INET, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("set_nonblocking", None)
        self._inner = None
        if isinstance(family, int):
            super().__init__(family, *args, **kwargs)
            return
        inner = family._sock if isinstance(family, _Descriptor) else family
        timeout = inner.gettimeout() or socket.getdefaulttimeout()
        if inner.fileno() < 0:
            super().__init__(inner.family, inner.type, inner.proto)
            sockets.GreenSocket.close(self)
        else:
            super().__init__(inner.family, inner.type, inner.proto, inner.fileno())
        self._inner = inner
        self.settimeout(timeout)

    @property
    def fd(self) -> Any:
        """The socket as the system has it: it never waits."""
        return self._inner if self._inner is not None else _Descriptor(self)

    @property
    def _sock(self) -> GreenSocket:
        return self

    @property
    def act_non_blocking(self) -> bool:
        """Whether its methods do not wait either."""
        return self._timeout == 0.0

    def settimeout(self, howlong: Any, /) -> None:
        """Set the timeout of each operation, in seconds; None waits for ever, 0 never waits."""
        if howlong is _GLOBAL_DEFAULT_TIMEOUT:
            howlong = None
        elif howlong is not None and not hasattr(howlong, "__float__"):
            raise TypeError("a float is required")
        super().settimeout(howlong)

    def accept(self) -> tuple[GreenSocket, Any]:
        """Return a socket for the next connection, and the peer's address. May switch."""
        conn, address = super().accept()
        return type(self)(conn.family, conn.type, conn.proto, conn.detach()), address

    # A peer that has reset the connection has ended it, to eventlet: nothing is raised.

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return up to ``bufsize`` bytes; ``b""`` at the end of the stream, or of the connection. May switch.

        For 0 bytes too it waits until there is something to read.
        """
        try:
            if not bufsize and self._timeout != 0.0:
                self._park(READ, self._deadline())
            return super().recv(bufsize, flags)
        except OSError as exc:
            if exc.errno not in SOCKET_CLOSED:
                raise
            return b""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes into ``buffer``; 0 at the end of the stream, or of the connection. May switch."""
        try:
            if not len(buffer) and self._timeout != 0.0:
                self._park(READ, self._deadline())
            return super().recv_into(buffer, nbytes, flags)
        except OSError as exc:
            if exc.errno not in SOCKET_CLOSED:
                raise
            return 0

    def _wait(self, direction: int, timeout: float | None) -> bool:
        source = self._source
        if (
            direction == READ
            and source is not None
            and source.readers
            and hub.g_prevent_multiple_readers
            and not source.closed
            and self._hub is get_hub()
        ):
            fire = source.readers[0].fire
            raise hub.second_waiter("read", self.fileno(), getattr(fire, "__self__", fire))
        return super()._wait(direction, timeout)

    def dup(self) -> GreenSocket:
        """Another socket for the same file, with the same timeout."""
        copy = type(self)(self.family, self.type, self.proto, os.dup(self.fileno()))
        copy.settimeout(self.gettimeout())
        return copy

    def makeGreenFile(self, *args: Any, **kw: Any) -> Any:  # noqa: N802 - its name
        """`makefile`."""
        warnings.warn("makeGreenFile is deprecated: its name is makefile now", DeprecationWarning, stacklevel=2)
        return self.makefile(*args, **kw)

    def _trampoline(
        self, fd: Any, read: bool = False, write: bool = False, timeout: float | None = None, timeout_exc: Any = None
    ) -> Any:
        if self.fileno() < 0:
            raise IOClosed(errno.EBADF, os.strerror(errno.EBADF))
        return trampoline(fd, read=read, write=write, timeout=timeout, timeout_exc=timeout_exc)

    def _real_close(self, *args: Any) -> None:
        inner = self._inner
        if inner is None:
            super()._real_close(*args)
        else:
            self._leave()
            base_socket.detach(self)
            inner.close()

    def detach(self) -> int:
        """Give the fd away. Whoever waits on it gets an error."""
        inner, self._inner = self._inner, None
        fd = super().detach()
        if inner is not None:
            inner.detach()
        return fd

    def __del__(self) -> None:
        # eventlet's closes without a word; and the file of one inside is that one's to close.
        try:
            if self.fileno() >= 0:
                if self._inner is not None:
                    base_socket.detach(self)
                else:
                    base_socket.close(self)
        except (AttributeError, OSError, TypeError):
            pass  # it was never finished, or the interpreter ends


def set_nonblocking(fd: Any) -> None:
    """Make a socket, or an object with ``fileno()``, non-blocking."""
    if hasattr(fd, "setblocking"):
        fd.setblocking(False)
    else:
        os.set_blocking(fd.fileno(), False)


def shutdown_safe(sock: Any) -> None:
    """Shut a socket down in both directions, of whatever kind it is. No error if it is not connected any more."""
    try:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except TypeError:
            sock.shutdown()  # pyOpenSSL's connections have no argument there
    except OSError as exc:
        if exc.errno not in (errno.ENOTCONN, errno.EBADF, errno.ENOTSOCK):
            raise
