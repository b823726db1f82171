"""Taking a connection over from the server: for WebSocket and whatever else an app wants to speak.

environ has it as ``greenserve.socket`` and, under the names for which libraries look, as ``gunicorn.socket`` and
``wsgi.input.get_socket()``. The first use of the object takes the connection over: from then on the server neither
reads nor writes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenserve.net.sockets import GreenSocket

__all__ = ["HijackedSocket", "SocketOffer"]


class HijackedSocket:
    """A connection that belongs to the app now: a green socket that first gives back what the server had read ahead.

    Every method and attribute of the socket is there; ``recv`` and ``recv_into`` look at the bytes read ahead first.
    """

    def __init__(self, sock: GreenSocket, unread: bytes) -> None:
        self._sock: Any = sock  # one that speaks TLS can do more
        self._unread = unread

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return up to ``size`` bytes. May switch."""
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        received: bytes = self._sock.recv(size, flags)
        return received

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes, or as many as fit, into ``buffer``. May switch."""
        if self._unread:
            data = self.recv(nbytes or len(buffer))
            buffer[: len(data)] = data
            return len(data)
        count: int = self._sock.recv_into(buffer, nbytes, flags)
        return count

    def pending(self) -> int:
        """How many bytes are here already, read ahead or decrypted with others: `select` does not see these."""
        return len(self._unread) + (self._sock.pending() if self._sock.is_tls else 0)

    def unwrap_socket(self) -> tuple[GreenSocket, bytes]:
        """The green socket itself, and the bytes read ahead; for whoever keeps them apart."""
        unread, self._unread = self._unread, b""
        return self._sock, unread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def __enter__(self) -> HijackedSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._sock.close()

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
