"""HTTP/1.1's way to answer: a run's status, fields and blocks as bytes on one connection.

Source: RFC 9112 sections 6 and 7, RFC 9110 section 6.4.1, PEP 3333.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any

from greenserve._originals import monotonic
from greenserve._words import counted
from greenserve.errors import ResponseError
from greenserve.http.response import LAST_CHUNK, ResponseHead, capitalize, check_head, chunk
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.files import FileWrapper
from greenserve.wsgi.run import Run, as_bytes

if TYPE_CHECKING:
    from greenserve.wsgi.protocol import HttpProtocol

__all__ = ["Response"]

log = logging.getLogger("greenserve.wsgi")

# Below this a file is cheaper to read than to send by a system call of its own.
_MIN_SENDFILE = 16384

# Up to this size a body is copied behind its head, so that both leave in one system call.
_MAX_JOINED = 65536


class Body(enum.Enum):
    """How the client learns where the body ends."""

    NONE = enum.auto()  # there is none
    LENGTH = enum.auto()  # by Content-Length
    CHUNKED = enum.auto()  # by the last chunk
    CLOSE = enum.auto()  # by the end of the connection: HTTP/1.0 without a length


# Looking a member up on its class costs more than all the rest of a small answer's framing.
_NONE = Body.NONE
_LENGTH = Body.LENGTH
_CHUNKED = Body.CHUNKED
_CLOSE = Body.CLOSE


class Response(Run):
    """The answer to one request.

    Attributes:
        keep_alive: Whether the connection goes on after this answer. The head says so, once it is sent.
        environ: The request's.
        sent: Bytes of the body that were handed to the system.
        ended: The whole answer was sent.
    """

    _body: Body  # how the client learns where it ends; set with the head, as is the next
    _left: int  # with a length: how many bytes of it are still owed; below 0 what comes is dropped

    __slots__ = ("_body", "_left", "_protocol", "ended", "environ", "keep_alive", "sent")

    head: ResponseHead | None

    def __init__(self, protocol: HttpProtocol, environ: Environ, keep_alive: bool) -> None:
        self.head = None
        self.head_sent = False
        self.ended = False
        self.environ = environ
        self.keep_alive = keep_alive
        self.sent = 0
        self._protocol = protocol

    def check(self, status: str, headers: list[tuple[str, str]]) -> ResponseHead:
        """Return status and fields, checked and serialised.

        Raises:
            ResponseError: HTTP or PEP 3333 does not allow them.
            TypeError: They are not of the types that PEP 3333 wants.
        """
        if type(headers) is not list:
            raise TypeError(f"the response's headers must be a list of (name, value), not {type(headers).__name__}")
        if self._protocol.server.capitalize_response_headers:
            headers = [(capitalize(name), value) for name, value in headers]
        return check_head(status, headers)

    def write(self, block: bytes) -> bool:
        """Send ``block``, behind the head if that has not been sent. May switch.

        False if there is no body, or this was more than its length.

        Raises:
            ClientGone: The client has left, or takes nothing any more.
            ResponseError: ``start_response`` was not called, or the answer has ended.
        """
        protocol = self._protocol
        now = monotonic()
        if not self.head_sent:
            head = self._make_head(None, now)
            protocol.send_parts(head, self._frame(block), now)
        elif self.ended:
            raise ResponseError("the answer has ended: what is written now would be taken for a part of the next one")
        else:
            data = self._frame(block)
            if data:
                protocol.send(data, now)
        return self._left >= 0

    def finish(self, block: bytes) -> None:
        """Send ``block`` as the last one, behind the head if that has not been sent. May switch.

        Raises:
            ClientGone: The client has left, or takes nothing any more.
            ResponseError: ``start_response`` was not called.
        """
        protocol = self._protocol
        now = monotonic()
        if not self.head_sent:
            head = self._make_head(len(block), now)
            body = self._body
            if body is _LENGTH and len(block) == self._left <= _MAX_JOINED:
                # The usual answer: one piece, one system call.
                self._left = 0
                self.sent = len(block)
                protocol.send(head + block, now)
                self.ended = True
                return
            protocol.send_parts(head, self._frame(block), now)
        elif block:
            self.write(block)
        body = self._body
        if body is _CHUNKED:
            protocol.send(LAST_CHUNK, now)
        elif body is _LENGTH and self._left > 0:
            # The client would take the next response for the rest of this one.
            log.error(
                "the app's body for %s is %s shorter than its Content-Length; closing the connection",
                protocol.describe_request(),
                counted(self._left, "byte"),
            )
            self.keep_alive = False
            return
        self.ended = True

    def send_file(self, wrapper: FileWrapper) -> bool:
        """Send a regular file, by the system if it is large. False, with nothing sent, if it is none. May switch."""
        protocol = self._protocol
        found = wrapper.system_file()
        if found is None or self.head_sent or not protocol.can_sendfile:
            return False
        offset, count = found
        answer = self.head
        if answer is None or not answer.has_content or protocol.method == "HEAD":
            return False
        length = answer.length
        if length is not None:
            count = min(count, length)
        if count < _MIN_SENDFILE:
            self.finish(wrapper.file.read(count))
            return True
        now = monotonic()
        protocol.send(self._make_head(count, now), now)
        sent = protocol.send_from_file(wrapper.file, offset, count)
        self.sent += sent
        self._left -= sent
        self.finish(b"")
        return True

    def _stream(self, blocks: Any) -> None:
        if blocks is None and self._protocol.is_taken():
            return  # the app needs no answer, so it may have none
        if type(blocks) is list or type(blocks) is tuple:
            self._send_all(list(map(as_bytes, blocks)))
            return
        minimum = self._protocol.least_block()
        # A sequence is there already: its blocks are written one after the other as they are.
        if minimum and isinstance(blocks, Iterable) and not isinstance(blocks, Sized):
            blocks = _collected(blocks, minimum)
        super()._stream(blocks)

    def _send_all(self, blocks: list[bytes]) -> None:
        """Send a body whose blocks are all there, and its length with that. May switch."""
        size = sum(map(len, blocks))
        if size <= _MAX_JOINED:
            self.finish(b"".join(blocks))
            return
        if not self.head_sent:
            now = monotonic()
            self._protocol.send(self._make_head(size, now), now)
        for block in blocks:
            if block and not self.write(block):
                break
        self.finish(b"")

    def _frame(self, block: bytes) -> bytes:
        """``block`` as it goes over the wire. What the client must not get is dropped here."""
        body = self._body
        if body is _LENGTH:
            size = len(block)
            left = self._left
            if size <= left:
                self._left = left - size
                self.sent += size
                return block
            if left < 0 or not size:
                return b""
            log.error(
                "the app's body for %s is longer than its Content-Length; the rest is dropped",
                self._protocol.describe_request(),
            )
            self._left = -1
            self.sent += left
            return block[:left]
        if body is _NONE:
            return b""
        self.sent += len(block)
        return chunk(block) if body is _CHUNKED else block

    def _make_head(self, length: int | None, now: float) -> bytes:
        """The head as bytes, which the caller sends at once. ``length`` is the whole body's, where it is known."""
        answer = self.head
        if answer is None:
            raise ResponseError("the app answered without calling start_response first")
        self.head_sent = True
        lines = answer.lines
        has_content = answer.has_content
        own_length = answer.length
        protocol = self._protocol
        server = protocol.server
        if (protocol.body is not None or server.stopping) and self.keep_alive and not protocol.may_go_on():
            self.keep_alive = False
        extra = b""
        if has_content and protocol.method != "HEAD":
            if own_length is not None:
                self._body = _LENGTH
                self._left = own_length
            elif length is not None:
                self._body = _LENGTH
                self._left = length
                extra = b"Content-Length: %d\r\n" % length
            elif protocol.is_1_1:
                self._body = _CHUNKED
                self._left = 0
                extra = b"Transfer-Encoding: chunked\r\n"
            else:
                self._body = _CLOSE
                self._left = 0
                self.keep_alive = False
        else:
            self._body = _NONE
            self._left = -1
            if not has_content:
                lines, extra = _without_content(answer)
            elif own_length is None and length:
                extra = b"Content-Length: %d\r\n" % length
        if not (self.keep_alive and protocol.is_1_1):
            if protocol.method == "CONNECT" and 200 <= answer.code < 300:
                # RFC 9110 section 9.3.6: the tunnel begins behind the head, and ends with the connection.
                lines, extra = _without_length(lines), b""
                self._body, self._left = _CLOSE, 0
            extra += b"Connection: keep-alive\r\n" if self.keep_alive else b"Connection: close\r\n"
            if server.is_1_0_only:
                lines = b"HTTP/1.0" + lines[8:]
        if extra:
            lines += extra
        if answer.has_date:
            return lines + b"\r\n"
        return lines + (server.date_end if now < server.date_until else server.renew_date(now))


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


def _without_content(answer: ResponseHead) -> tuple[bytes, bytes]:
    """The lines of an answer whose status allows no content, and those to add."""
    length = answer.length
    if answer.code == 304 or (length is None and answer.code == 204):
        return answer.lines, b""
    # RFC 9110 sections 8.6 and 15.3.6: no length in a 204; a 205 must say that it is empty.
    lines = answer.lines
    if length is not None:
        lines = _without_length(lines)
    return lines, b"Content-Length: 0\r\n" if answer.code == 205 else b""


def _without_length(lines: bytes) -> bytes:
    return b"\r\n".join([line for line in lines.split(b"\r\n") if not line.lower().startswith(b"content-length:")])
