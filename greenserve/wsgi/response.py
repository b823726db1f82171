"""HTTP/1.1's way to answer: a run's status, fields and blocks as bytes on one connection.

Source: RFC 9112 sections 6 and 7, RFC 9110 section 6.4.1, PEP 3333.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING

from greenserve.errors import ResponseError
from greenserve.http.date import date_line
from greenserve.http.response import (
    LAST_CHUNK,
    ResponseFields,
    body_allowed,
    capitalize,
    check_fields,
    chunk,
    parse_status,
    status_line,
)
from greenserve.wsgi.files import FileWrapper
from greenserve.wsgi.run import Run

if TYPE_CHECKING:
    from greenserve.wsgi.protocol import HttpProtocol

__all__ = ["Response"]

log = logging.getLogger("greenserve.wsgi")

# Below this a file is cheaper to read than to send by a system call of its own.
_MIN_SENDFILE = 16384

# Up to this size a body is copied behind its head, so that both leave in one segment and one system call.
_MAX_JOINED = 65536


class Body(enum.Enum):
    """How the client learns where the body ends."""

    NONE = enum.auto()  # there is none
    LENGTH = enum.auto()  # by Content-Length
    CHUNKED = enum.auto()  # by the last chunk
    CLOSE = enum.auto()  # by the end of the connection: HTTP/1.0 without a length


_LENGTH = Body.LENGTH
_CHUNKED = Body.CHUNKED


class Response(Run):
    """The answer to one request.

    Attributes:
        keep_alive: Whether the connection goes on after this answer. The head says so, once it is sent.
        status: As the app gave it, or ``""``.
        fields: The app's, checked.
        sent: Bytes of the body that were handed to the system.
        ended: The whole answer was sent.
    """

    __slots__ = ("_body", "_left", "_method", "_protocol", "ended", "fields", "keep_alive", "sent", "status")

    fields: ResponseFields

    def __init__(self, protocol: HttpProtocol, method: str, keep_alive: bool) -> None:
        self.started = False
        self.head_sent = False
        self.ended = False
        self.keep_alive = keep_alive
        self.status = ""
        self.sent = 0
        self._protocol = protocol
        self._method = method
        self._body = Body.NONE
        self._left = 0  # with a length: how many bytes of it are still owed

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Check and keep status and fields.

        Raises:
            ResponseError: HTTP or PEP 3333 does not allow them.
            TypeError: They are not of the types that PEP 3333 wants.
        """
        if type(headers) is not list:
            raise TypeError(f"the response's headers must be a list of (name, value), not {type(headers).__name__}")
        if self._protocol.server.capitalize_response_headers:
            headers = [(capitalize(name), value) for name, value in headers]
        parse_status(status)
        self.fields = check_fields(headers)
        self.status = status

    def write(self, block: bytes) -> None:
        """Send ``block``, behind the head if that has not been sent. May switch.

        Raises:
            ClientGone: The client has left, or takes nothing any more.
            ResponseError: ``start_response`` was not called.
        """
        protocol = self._protocol
        if self.head_sent:
            data = self._frame(block)
            if data:
                protocol.send(data)
            return
        head = self._make_head(None)
        data = self._frame(block)
        self.head_sent = True
        if len(data) <= _MAX_JOINED:
            protocol.send(head + data)
        else:
            protocol.send(head)
            protocol.send(data)

    def finish(self, block: bytes) -> None:
        """Send ``block`` as the last one, behind the head if that has not been sent. May switch.

        Raises:
            ClientGone: The client has left, or takes nothing any more.
            ResponseError: ``start_response`` was not called.
        """
        protocol = self._protocol
        if not self.head_sent:
            head = self._make_head(len(block))
            data = self._frame(block)
            self.head_sent = True
            if self._body is _CHUNKED:
                data += LAST_CHUNK
            if len(data) <= _MAX_JOINED:
                protocol.send(head + data)
            else:
                protocol.send(head)
                protocol.send(data)
        elif self._body is _CHUNKED:
            protocol.send(chunk(block) + LAST_CHUNK if block else LAST_CHUNK)
            self.sent += len(block)
        elif block:
            self.write(block)
        if self._body is _LENGTH and self._left:
            # The client would take the next response for the rest of this one.
            log.error(
                "the app's body for %s is %d bytes shorter than its Content-Length; closing the connection",
                protocol.describe_request(),
                self._left,
            )
            self.keep_alive = False
            return
        self.ended = True

    def send_file(self, wrapper: FileWrapper) -> bool:
        """Let the system send a regular file. False, with nothing sent, when that can't be done. May switch."""
        protocol = self._protocol
        found = wrapper.system_file()
        if found is None or self.head_sent or not protocol.can_sendfile:
            return False
        file, offset, count = found
        length = self.fields.has_length
        if length is not None:
            count = min(count, length)
        if count < _MIN_SENDFILE or not body_allowed(self._method, parse_status(self.status)):
            return False
        head = self._make_head(count)
        if self._body is not _LENGTH:
            return False
        self.head_sent = True
        protocol.send(head)
        sent = protocol.send_from_file(file, offset, count)
        self.sent += sent
        self._left -= sent
        self.finish(b"")
        return True

    def _stream(self, blocks: Iterable[bytes]) -> None:
        minimum = self._protocol.minimum_chunk_size()
        # A sequence is there already: its blocks are written one after the other as they are.
        if minimum and not isinstance(blocks, Sized):
            blocks = _collected(blocks, minimum)
        super()._stream(blocks)

    def _frame(self, block: bytes) -> bytes:
        """``block`` as it goes over the wire. What the client must not get is dropped here."""
        body = self._body
        if body is _LENGTH:
            size = len(block)
            if size > self._left:
                log.error(
                    "the app's body for %s is longer than its Content-Length; the rest is dropped",
                    self._protocol.describe_request(),
                )
                block = block[: self._left]
                size = self._left
            self._left -= size
            self.sent += size
            return block
        if body is Body.NONE:
            return b""
        self.sent += len(block)
        return chunk(block) if body is _CHUNKED else block

    def _make_head(self, length: int | None) -> bytes:
        """The head as bytes. ``length`` is that of the whole body, where it is known."""
        if not self.started:
            raise ResponseError("the app answered without calling start_response first")
        protocol = self._protocol
        fields = self.fields
        lines = fields.lines
        code = parse_status(self.status)
        own_length = fields.has_length
        extra = b""
        if body_allowed(self._method, code):
            if own_length is not None:
                self._body = _LENGTH
                self._left = own_length
            elif length is not None:
                self._body = _LENGTH
                self._left = length
                extra = b"Content-Length: %d\r\n" % length
            elif protocol.is_1_1:
                self._body = _CHUNKED
                extra = b"Transfer-Encoding: chunked\r\n"
            else:
                self._body = Body.CLOSE
                self.keep_alive = False
        elif code == 205:
            # RFC 9110 section 15.3.6: no content, and the client must be told so.
            lines = _without_length(lines) if own_length else lines
            extra = b"Content-Length: 0\r\n" if own_length != 0 else b""
        elif own_length is not None and code == 204:
            lines = _without_length(lines)  # RFC 9110 section 8.6: never in a 204
        elif own_length is None and length and self._method == "HEAD":
            extra = b"Content-Length: %d\r\n" % length
        if self.keep_alive and not protocol.may_go_on():
            self.keep_alive = False
        if not self.keep_alive:
            extra += b"Connection: close\r\n"
        elif not protocol.is_1_1:
            extra += b"Connection: keep-alive\r\n"
        if not fields.has_date:
            extra += date_line()
        return status_line(self.status) + lines + extra + b"\r\n"


def _collected(blocks: Iterable[bytes], minimum: int) -> Iterator[bytes]:
    """The same bytes in blocks of at least ``minimum`` bytes, but for the last."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= minimum:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if size:
        yield b"".join(parts)


def _without_length(lines: bytes) -> bytes:
    kept = [line for line in lines.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join(kept)
