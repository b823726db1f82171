"""``wsgi.input``: a request's body as the app reads it, never past its end. Knows no sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from greenserve.http.body import Body

__all__ = ["Input", "RequestConnection"]


class RequestConnection(Protocol):
    """What the body's reader asks of the connection it comes from."""

    def hijack(self) -> Any:
        """Hand the connection over."""

    def send_continue(self, again: bool = False) -> None:
        """Send ``100 Continue``, if the client waits for it; ``again``, if it has waited for one."""

    def set_continue_fields(self, headers: list[tuple[str, str]], capitalize: bool) -> None:
        """Send these fields with the next ``100 Continue``."""


class Input:
    """A request's body. Reading raises `BodyError` when it ends early, is malformed, or does not come in time."""

    __slots__ = ("_connection", "body")

    def __init__(self, connection: RequestConnection, body: Body) -> None:
        self._connection = connection
        self.body = body

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the body's end; without ``size``, all of it. May switch."""
        return self.body.read(size)

    def read1(self, size: int = -1) -> bytes:
        """Return what one read brings, ``size`` bytes at most. May switch."""
        return self.body.read1(size)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Put into ``buffer`` what one read brings, and return how many bytes that was; 0 at the end. May switch."""
        return self.body.readinto(buffer)

    def readline(self, limit: int | None = -1) -> bytes:
        """Return the next line with its LF, ``limit`` bytes at most. May switch."""
        return self.body.readline(limit)

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """Return the lines up to the end, or until they hold ``hint`` bytes. May switch."""
        return self.body.readlines(hint)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def readable(self) -> bool:
        """True: it is a reader."""
        return True

    # eventlet's names ---------------------------------------------------------------------------------------------

    def get_socket(self) -> Any:
        """Take the connection over from the server, with what it had read ahead."""
        return self._connection.hijack()

    def discard(self, buffer_size: int = 16 << 10) -> None:
        """Read the rest of the body and drop it. May switch."""
        while self.body.read1(buffer_size):
            pass

    def send_hundred_continue_response(self) -> None:
        """Send ``100 Continue`` now, not only at the first read. No effect if the client did not ask for it.

        Called again it sends another one, with the fields that were set since: some protocols take a body in parts.
        """
        self._connection.send_continue(again=True)

    def set_hundred_continue_response_headers(
        self, headers: list[tuple[str, str]], capitalize_response_headers: bool = True
    ) -> None:
        """Send ``headers`` with each ``100 Continue`` to come."""
        self._connection.set_continue_fields(headers, capitalize_response_headers)

    def __getattr__(self, name: str) -> Any:
        # What else a body can say: remaining, finished, received, trailers.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.body, name)
