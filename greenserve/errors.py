"""Every exception that the project raises, in one hierarchy.

The operating system's errors stay ``OSError`` and ``TimeoutError``. A bad request
carries the status to answer with, so that whoever catches it needs no table.
"""

from __future__ import annotations

__all__ = [
    "BadRequest",
    "BodyError",
    "ClosedWhileWaiting",
    "ConnectTimeout",
    "ConnectionClosed",
    "ContentTooLarge",
    "DeadlockError",
    "EventError",
    "ExpectationFailed",
    "FieldsTooLarge",
    "GreenserveError",
    "HandshakeError",
    "HubError",
    "MissingExtra",
    "NotSupported",
    "RequestTimeout",
    "ResponseError",
    "SettingError",
    "TargetTooLong",
    "VersionNotSupported",
    "WebSocketError",
]


class GreenserveError(Exception):
    """The root of every exception of our own."""


class HubError(GreenserveError, RuntimeError):
    """The hub was used in a way that can't work, such as blocking in its own callback."""


class DeadlockError(HubError):
    """Nothing is left that could ever wake the main greenlet. The message lists who waits on what."""


class EventError(GreenserveError, RuntimeError):
    """An event was sent twice, or reset before it was sent."""


class ClosedWhileWaiting(GreenserveError, OSError):
    """The socket or file was closed while this green thread waited on it. ``errno`` is EBADF."""


class ConnectTimeout(GreenserveError, TimeoutError):
    """Connecting to a database took longer than its pool allows."""


class SettingError(GreenserveError, ValueError):
    """A setting's value is wrong. The message names the setting, where it was set, and what is allowed."""


class MissingExtra(GreenserveError, ImportError):
    """An optional dependency is not installed. The message says which extra brings it."""


class BadRequest(GreenserveError):
    """The peer's request can't be read in one way only, or not at all.

    The message goes to the client and into the log: a short reason without the peer's bytes.
    """

    status = "400 Bad Request"


class RequestTimeout(BadRequest):
    """The request did not arrive within its deadline (RFC 9110 section 15.5.9)."""

    status = "408 Request Timeout"


class ContentTooLarge(BadRequest):
    """The request's body is over the limit (RFC 9110 section 15.5.14)."""

    status = "413 Content Too Large"


class TargetTooLong(BadRequest):
    """The request line is over the limit (RFC 9110 section 15.5.15)."""

    status = "414 URI Too Long"


class ExpectationFailed(BadRequest):
    """An expectation other than ``100-continue`` (RFC 9110 section 10.1.1)."""

    status = "417 Expectation Failed"


class FieldsTooLarge(BadRequest):
    """Too many fields, or fields too long (RFC 6585 section 5)."""

    status = "431 Request Header Fields Too Large"


class NotSupported(BadRequest):
    """A well-formed request for what this server does not do: a transfer coding, CONNECT (RFC 9110 section 15.6.2)."""

    status = "501 Not Implemented"


class VersionNotSupported(BadRequest):
    """A major version of HTTP other than 1 (RFC 9110 section 15.6.6)."""

    status = "505 HTTP Version Not Supported"


class BodyError(BadRequest, OSError):
    """A request's body ended early or is malformed. An ``OSError`` too: frameworks expect that of ``wsgi.input``."""


class ResponseError(GreenserveError):
    """The response breaks HTTP or PEP 3333: a control character in a field, a hop-by-hop field, a late start."""


class WebSocketError(GreenserveError):
    """The root of what a WebSocket raises."""


class ConnectionClosed(WebSocketError, ConnectionError):
    """The WebSocket connection has ended. An ``OSError`` too: libraries expect that of a connection.

    Attributes:
        code: Why, as RFC 6455 section 7.4 numbers it; 1006 if the connection broke without a closing handshake.
        reason: The same in words; may be empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket connection has ended: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class HandshakeError(WebSocketError, ConnectionError):
    """A client got no WebSocket connection.

    Attributes:
        status: The code of the server's answer; None if that was no HTTP, or spoke for a WebSocket but wrongly.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
