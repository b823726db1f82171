"""An answer as eventlet's server gives it, where good traffic can see a difference. Knows nothing of connections.

- An app may set Connection: ``close`` in it ends the connection. PEP 3333 leaves that field to the server, so what the
  app says is done, and the field itself is the server's.
- A client that asked for keep-alive by that word is told so, with the idle timeout where the server was given one.
- A body whose length the app does not tell is chunked, an empty one too.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from greenserve.http.framing import tokens
from greenserve.http.response import ResponseHead
from greenserve.wsgi import response as native

__all__ = ["Response"]

_OWN = frozenset({"connection", "keep-alive", "proxy-connection"})


class Response(native.Response):
    """The answer to one request."""

    __slots__ = ("_is_sized",)

    _is_sized: bool  # set when the app has returned: until then what it writes is of unknown length

    def check(self, status: str, headers: list[tuple[str, str]]) -> ResponseHead:
        """Return status and fields, checked and serialised. As the native one, but for Connection."""
        if any(name.lower() in _OWN for name, _ in headers):
            said = [value for name, value in headers if name.lower() == "connection"]
            if any("close" in tokens(value) for value in said):
                self.keep_alive = False
            headers = [field for field in headers if field[0].lower() not in _OWN]
        return super().check(status, headers)

    def _stream(self, blocks: Any) -> None:
        self._is_sized = isinstance(blocks, Sized)
        super()._stream(blocks)

    def _make_head(self, length: int | None, now: float) -> bytes:
        head = super()._make_head(length if getattr(self, "_is_sized", True) else None, now)
        if not (self.keep_alive and self._protocol.is_1_1):
            return head
        asked = self.environ.get("HTTP_CONNECTION", "")
        if asked.lower() != "keep-alive":
            return head
        seconds = self._protocol.server.keepalive  # type: ignore[attr-defined]  # eventlet's server has it
        told = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and int(seconds)
        line = b"Keep-Alive: timeout=%d\r\n" % int(seconds) if told else b""
        return head[:-2] + b"Connection: keep-alive\r\n" + line + b"\r\n"
