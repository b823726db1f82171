"""Taking a connection over from the server: for WebSocket and whatever else an app wants to speak.

environ has it as ``greenserve.socket`` and, under the names for which libraries look, as ``gunicorn.socket`` and
``wsgi.input.get_socket()``. The first use of the object takes the connection over: from then on the server neither
reads nor writes it.

Facts this rests on (Linux epoll(7)):

- An epoll object is itself readable while it has something to tell, for ``select``, ``poll`` and other epoll objects.
- A socket can nearly always be written to.

What this means for us: an app that waits by the system for bytes that are here already, read ahead or left in OpenSSL,
is given the fd of an epoll object. It watches the socket for something to read, and as long as bytes are here for room
to write, too.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import MSG_PEEK
from typing import Any

from greenserve._originals import select, socket_type
from greenserve._words import counted
from greenserve.net.sockets import GreenSocket

__all__ = ["HijackedSocket", "SocketOffer"]


class _Beacon:
    """An fd that is readable when a socket is, and while it is lit."""

    def __init__(self, fd: int) -> None:
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self._fd = fd
        self._lit = False

    def light(self, lit: bool) -> None:
        """Be readable, whether the socket is or not."""
        if lit is not self._lit:
            self._lit = lit
            self._epoll.modify(self._fd, select.EPOLLIN | select.EPOLLOUT if lit else select.EPOLLIN)

    def fileno(self) -> int:
        """Return the fd."""
        fd: int = self._epoll.fileno()
        return fd

    def close(self) -> None:
        """Close the fd; the socket's is its owner's."""
        self._epoll.close()


class HijackedSocket:
    """A connection that belongs to the app now: a green socket that first gives back what the server had read ahead.

    Every method and attribute of the socket is there; those that receive look at the bytes read ahead first.
    """

    def __init__(self, sock: GreenSocket, unread: bytes) -> None:
        self._sock: Any = sock  # one that speaks TLS can do more
        self._unread = unread
        self._beacon: _Beacon | None = None

    def _take(self, size: int, flags: int) -> bytes:
        data = self._unread[:size]
        if not flags & MSG_PEEK:
            self._unread = self._unread[size:]
            self._note()
        return data

    def _note(self) -> None:
        if self._beacon is not None:
            self._beacon.light(self.pending() > 0)

    def _take_into(self, buffer: bytearray | memoryview, size: int, flags: int) -> int:
        view = memoryview(buffer).cast("B")
        data = self._take(size or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return up to ``size`` bytes. May switch."""
        if self._unread:
            return self._take(size, flags)
        data: bytes = self._sock.recv(size, flags)
        self._note()
        return data

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes, or as many as fit, into ``buffer``. May switch."""
        if self._unread:
            return self._take_into(buffer, nbytes, flags)
        count: int = self._sock.recv_into(buffer, nbytes, flags)
        self._note()
        return count

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        """As `recv`, with the sender's address, which a stream does not have. May switch."""
        return (self._take(size, flags), None) if self._unread else self._sock.recvfrom(size, flags)

    def recvfrom_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recv_into`, likewise. May switch."""
        if self._unread:
            return self._take_into(buffer, nbytes, flags), None
        received: tuple[int, Any] = self._sock.recvfrom_into(buffer, nbytes, flags)
        return received

    def recvmsg(self, size: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """Return up to ``size`` bytes, ancillary data, flags and address, as ``socket.recvmsg``. May switch."""
        if self._unread:
            return self._take(size, flags), [], 0, None
        received: tuple[bytes, list[Any], int, Any] = self._sock.recvmsg(size, ancbufsize, flags)
        return received

    def makefile(self, *args: Any, **keywords: Any) -> Any:
        """Return a file over the connection, as ``socket.makefile``: it begins with what was read ahead."""
        # The standard one, which makes its stream over whatever has recv_into. It counts its files in _io_refs.
        make: Any = socket_type.makefile
        return make(self, *args, **keywords)

    @property
    def _io_refs(self) -> int:
        count: int = self._sock._io_refs
        return count

    @_io_refs.setter
    def _io_refs(self, count: int) -> None:
        self._sock._io_refs = count

    def pending(self) -> int:
        """How many bytes are here already, read ahead or decrypted with others."""
        return len(self._unread) + (self._sock.pending() if self._sock.is_tls else 0)

    def fileno(self) -> int:
        """Return an fd to wait on for something to read, which counts what is here already; -1 once closed.

        Where bytes may be here it is not that of the socket: nothing can be sent over it, nor waited for to be sent.
        """
        fd: int = self._sock.fileno()
        if fd < 0 or not hasattr(select, "epoll"):
            return fd
        if self._beacon is None:
            if not self._unread and not self._sock.is_tls:
                return fd  # and none will be
            self._beacon = _Beacon(fd)
            self._note()
        return self._beacon.fileno()

    def wait_readable(self, timeout: float | None = None) -> bool:
        """As the green socket's, which does not know of the bytes read ahead. May switch."""
        return bool(self._unread) or bool(self._sock.wait_readable(timeout))

    def dup(self) -> HijackedSocket:
        """Return another socket of the connection; the bytes read ahead go with it, since it is used from then on."""
        other = HijackedSocket(self._sock.dup(), self._unread)
        self._unread = b""
        self._note()
        return other

    def detach(self) -> int:
        """Give the fd away, and close the rest of this without closing the connection.

        Raises:
            RuntimeError: There are bytes that were read ahead. Nobody could receive them from the fd.
        """
        count = self.pending()
        if count:
            raise RuntimeError(
                f"detach() would lose {counted(count, 'byte')} read ahead: receive that first, "
                "or take socket and bytes apart with unwrap_socket()"
            )
        if self._beacon is not None:
            self._beacon.close()
            self._beacon = None
        fd: int = self._sock.detach()
        return fd

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._sock.close()
        if self._beacon is not None:
            self._beacon.close()

    def unwrap_socket(self) -> tuple[GreenSocket, bytes]:
        """The green socket itself, and the bytes read ahead; for whoever keeps them apart."""
        unread, self._unread = self._unread, b""
        return self._sock, unread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def __enter__(self) -> HijackedSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HijackedSocket of {self._sock!r}>"


class SocketOffer:
    """Stands in environ for the connection. It becomes the app's with the first attribute that the app asks for."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[], HijackedSocket]) -> None:
        self._take = take

    def __getattr__(self, name: str) -> Any:
        # Looking at an environ must not take the connection away: copy, pickle and debuggers ask for dunder names.
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._take(), name)

    def __repr__(self) -> str:
        return "<the connection, for the app that takes it over>"
