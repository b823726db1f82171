"""``eventlet.websocket``: WebSocket handlers by eventlet's arguments. The protocol is `greenserve.websocket`'s."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from greenserve import websocket as native
from greenserve.errors import ConnectionClosed, HandshakeError, WebSocketError

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

ConnectionClosedError = ConnectionClosed
FailedConnectionError = ConnectionClosed
ProtocolError = WebSocketError
BadRequest = HandshakeError


class RFC6455WebSocket:
    """What a handler gets: a `greenserve.websocket.WebSocket`, with eventlet's way to close it."""

    def __init__(self, ws: native.WebSocket) -> None:
        self._ws = ws

    @property
    def log_context(self) -> str:
        """Whom it is connected with, for a log."""
        return f"{self._ws.environ.get('REMOTE_ADDR')}:{self._ws.environ.get('REMOTE_PORT')}"

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
            close_timeout=1.0,
        )
        self.handle = handler
        self.max_frame_length = max_frame_length

    def _run_handler(self, ws: native.WebSocket) -> None:
        environ = ws.environ
        set_idle = environ.get("eventlet.set_idle")
        if set_idle is not None:
            set_idle()
        self.handle(RFC6455WebSocket(ws))

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
