"""``eventlet.websocket``: WebSocket handlers by eventlet's arguments. The protocol is `greenserve.websocket`'s."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from greenserve import extras
from greenserve import websocket as native
from greenserve.errors import ConnectionClosed, HandshakeError, ResponseError, WebSocketError
from greenserve.websocket.handshake import Refusal
from greenserve.websocket.options import Options

__all__ = [
    "BadRequest",
    "ConnectionClosedError",
    "FailedConnectionError",
    "ProtocolError",
    "RFC6455WebSocket",
    "WebSocket",
    "WebSocketWSGI",
]

DEFAULT_MAX_FRAME_LENGTH = 8 << 20
VALID_CLOSE_STATUS = {*range(1000, 1004), *range(1007, 1012), *range(3000, 5000)}

# Seconds that close() waits for the peer.
_CLOSE_TIMEOUT = 1.0

ConnectionClosedError = ConnectionClosed
FailedConnectionError = ConnectionClosed
ProtocolError = WebSocketError
BadRequest = HandshakeError


class RFC6455WebSocket:
    """What a handler gets: a `greenserve.websocket.WebSocket`, with eventlet's way to close it.

    Made by hand it speaks over a socket whose handshake somebody else has done.

    Args:
        sock: A green socket.
        environ: That of the request; empty for a client.
        protocol: The subprotocol that was agreed on.
        client: Which side it is.
        extensions: What was agreed on: ``{"permessage-deflate": {...}}`` with RFC 7692's parameters.
        max_frame_length: Bytes of the longest message that is taken.
    """

    def __init__(
        self,
        sock: Any,
        environ: dict[str, Any],
        version: int = 13,
        protocol: str | None = None,
        client: bool = False,
        extensions: dict[str, Any] | None = None,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
    ) -> None:
        codec = extras.load("websocket", "greenserve.websocket.codec")
        deflate = (extensions or {}).get("permessage-deflate")
        agreed = [] if deflate is None else [codec.agreed_deflate(deflate, client)]
        make = codec.client_codec if client else codec.server_codec
        self._ws = native.WebSocket(
            sock,
            make(max_frame_length, agreed, protocol),
            Options(max_frame_length, ping_interval=None, close_timeout=_CLOSE_TIMEOUT),
            environ=environ,
            path=environ.get("PATH_INFO", ""),
            origin=environ.get("HTTP_ORIGIN"),
        )
        self.max_frame_length = max_frame_length

    @classmethod
    def _around(cls, ws: native.WebSocket, max_frame_length: int) -> RFC6455WebSocket:
        self = cls.__new__(cls)
        self._ws = ws
        self.max_frame_length = max_frame_length
        return self

    @property
    def log_context(self) -> str:
        """Whom it is connected with, for a log."""
        return f"{self._ws.environ.get('REMOTE_ADDR')}:{self._ws.environ.get('REMOTE_PORT')}"

    @property
    def _remote_close_data(self) -> bytes | None:
        """Code and reason of the end as a close frame has them: what eventlet's users look at for want of a name."""
        code = self._ws.close_code
        return None if code is None else struct.pack("!H", code) + (self._ws.close_reason or "").encode()

    def send(self, message: str | bytes, **kw: Any) -> None:
        """Send text or bytes, as one message. May switch."""
        self._ws.send(message)

    def wait(self) -> str | bytes | None:
        """The next message; None at the end of the connection. May switch."""
        return self._ws.wait()

    def close(self, close_data: Any = None) -> None:
        """Close the connection; ``close_data`` is a code and perhaps a reason. May switch."""
        if close_data is None:
            self._ws.close()
        else:
            code, reason = (*close_data, "")[:2] if isinstance(close_data, tuple) else (close_data, "")
            self._ws.close(code, reason.decode() if isinstance(reason, bytes) else reason)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ws, name)


WebSocket = RFC6455WebSocket


class WebSocketWSGI(native.WebSocketWSGI):
    """A WSGI application that calls ``handler(ws)`` for each connection.

    Args:
        max_frame_length: Bytes of the longest message that is taken.
    """

    def __init__(self, handler: Callable[[Any], Any], max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH) -> None:
        # Only a function of its own: a handler may be set later, as eventlet's may.
        super().__init__(
            self._run_handler,
            max_message_size=max_frame_length,
            compression=True,
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT,
        )
        self.handle = handler
        self.max_frame_length = max_frame_length

    def _run_handler(self, ws: native.WebSocket) -> None:
        environ = ws.environ
        set_idle = environ.get("eventlet.set_idle")
        if set_idle is not None:
            set_idle()
        self.handle(RFC6455WebSocket._around(ws, self.max_frame_length))

    def refuse(self, refusal: Refusal, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a request that is not for a WebSocket, or not a right one: without a body, as eventlet does."""
        try:
            start_response(refusal.status, [("Connection", "close"), *refusal.fields])
        except ResponseError:  # a server that leaves that field to nobody
            start_response(refusal.status, list(refusal.fields))
        return [b""]

    @property
    def protocol_handler(self) -> Callable[[Any], Any]:
        """The handler."""
        return self.handle

    @classmethod
    def configured(
        cls,
        handler: Callable[[Any], Any] | None = None,
        supported_protocols: Iterable[str] | None = None,
        origin_checker: Callable[[Any], Any] | None = None,
        support_legacy_versions: bool = False,
    ) -> Any:
        """Return an application for ``handler``, or a decorator that makes one.

        Args:
            supported_protocols: The subprotocols that the handler speaks.
            origin_checker: Says of a page's origin whether it may connect.
            support_legacy_versions: The drafts 75 and 76 of the protocol; no browser speaks them any more.

        Raises:
            ValueError: The drafts were asked for.
        """
        if support_legacy_versions:
            raise ValueError("the drafts 75 and 76 of the WebSocket protocol are not supported: every browser has 13")
        if handler is None:
            return partial(cls.configured, supported_protocols=supported_protocols, origin_checker=origin_checker)
        application = cls(handler)
        if supported_protocols is not None:
            application.subprotocols = tuple(supported_protocols)
        application.origins = origin_checker
        return application
