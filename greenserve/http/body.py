"""The bodies of requests: readers that end where the body ends. Know no sockets, only a source of bytes.

A body reads from its source exactly the bytes that belong to it, and keeps none back, so whoever owns the source goes
on behind the body at any time. A body that ends early or breaks the grammar raises, then and at every later read:
it never looks like a clean end.
"""

from __future__ import annotations

import enum
import io
import re
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol

from greenserve.errors import BadRequest, BodyError, ContentTooLarge
from greenserve.http.head import parse_field_line

__all__ = ["EMPTY_BODY", "Body", "ChunkedBody", "LengthBody", "Source"]

# A piece read at once: large enough to make the cost of a call small, small enough for a reader that allocates it.
MAX_PIECE = 65536
# The same where the caller has allocated it: others have their turn in between.
MAX_PIECE_INTO = 262144
# For so many bytes room is made before they come.
_MAX_ROOM = 8 << 20
MAX_CHUNK_LINE = 1024
# Chunk extensions in all may be as long as this and the data together: who signs large chunks stays far below, and
# who sends a kilobyte of extension with each byte is stopped.
MAX_EXTENSIONS = 16384

_LF = 0x0A
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*"'
# RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF. 16 digits are 64 bits, and int(x, 16) alone would
# also take "+1", "0x1" and "1_0".
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)\r\n" % (_TOKEN, _TOKEN, _QUOTED)
)


class Source(Protocol):
    """Where a body's bytes come from. A call that raises has consumed nothing. May switch."""

    def read1(self, size: int, /) -> bytes:
        """Return at least one byte and at most ``size``, or ``b""`` at the end."""

    def readinto(self, target: memoryview, /) -> int:
        """Put at least one byte into ``target`` and return how many, or 0 at the end."""

    def readline(self, limit: int, /) -> bytes:
        """Return the bytes up to and with the first LF, but at most ``limit``; fewer only at the end."""


class Body:
    """What ``wsgi.input`` offers, over the stretches of the source that a subclass says are the body's.

    Every read may switch, and may raise BodyError, ContentTooLarge, or whatever the source raises.
    """

    __slots__ = ("_before_read", "_failure", "_source", "received")

    def __init__(self, source: Source, before_read: Callable[[], None] | None = None) -> None:
        """Read from ``source``; call ``before_read`` once, before the first byte is asked for."""
        self._source = source
        self._before_read = before_read
        self._failure: BadRequest | None = None  # once set, every read raises it
        self.received = 0  # bytes of the body handed out so far

    @property
    def remaining(self) -> int | None:
        """How many bytes are still to come, or None while nobody knows."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether the body was read to its clean end, so that the next request can begin."""
        raise NotImplementedError

    def _find(self, limit: int) -> int:
        """How many of the next bytes of the source, ``limit`` at most, are the body's; 0 only at the clean end."""
        raise NotImplementedError

    def _took(self, count: int) -> None:
        """Go on behind ``count`` of the bytes that `_find` has told of; with 0 the source has ended before them."""
        raise NotImplementedError

    def _take(self, limit: int, by_line: bool) -> bytes:
        """Return 1 to ``limit`` bytes, with ``by_line`` no byte behind a LF; ``b""`` only at the clean end."""
        limit = self._find(min(limit, MAX_PIECE))
        if not limit:
            return b""
        piece = self._source.readline(limit) if by_line else self._source.read1(limit)
        self._took(len(piece))
        return piece

    def _take_into(self, view: memoryview) -> int:
        """Put 1 to ``len(view)`` bytes into ``view``, and return how many; 0 only at the clean end."""
        limit = self._find(min(len(view), MAX_PIECE_INTO))
        if not limit:
            return 0
        with view[:limit] as room:  # let go of whatever is raised: tracebacks would keep what it is a view of in use
            count = self._source.readinto(room)
        self._took(count)
        return count

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the body's end; all the rest for None or less than 0."""
        return self._gather(size, by_line=False)

    def readline(self, limit: int | None = -1) -> bytes:
        """Return one line with its LF, or as much of it as ``limit`` allows; ``b""`` at the end."""
        return self._gather(limit, by_line=True)

    def _gather(self, size: int | None, by_line: bool) -> bytes:
        left = None if size is None or size < 0 else size
        before = self.received
        remaining = self.remaining
        try:
            if not by_line and remaining is not None and min(remaining, left or remaining) > MAX_PIECE:
                return self._read_long(b"", left)
            first = b"" if left == 0 else self._take(MAX_PIECE if left is None else left, by_line)
            if not first or len(first) in (left, remaining) or (by_line and first[-1] == _LF):
                return first
            return self._read_line_on(first, left) if by_line else self._read_long(first, left)
        except BaseException as exc:
            if self.received != before:
                self._lose(exc)
            raise

    def _read_line_on(self, first: bytes, size: int | None) -> bytes:
        """Return the line that begins with ``first``, as `readline` does."""
        whole = io.BytesIO()
        count = whole.write(first)
        while size is None or count < size:
            piece = self._take(MAX_PIECE if size is None else size - count, True)
            count += whole.write(piece)
            if not piece or piece[-1] == _LF:
                break
        return whole.getvalue()

    def _read_long(self, first: bytes, size: int | None) -> bytes:
        """Return what `read` is to return, where ``first`` is its beginning.

        What comes goes right into what is returned, as far as a length is known. A length that somebody only announced
        costs address space, no memory: a page of it becomes real when it is written to.
        """
        # Its read() has memory of that size filled by readinto(), and with a buffer of 1 it reads nothing ahead. There
        # is no other way in Python to memory that nobody has written zeros to before.
        filler = io.BufferedReader(self, 1)  # type: ignore[type-var]  # it has what a raw stream needs
        whole = io.BytesIO()
        count = whole.write(first)
        while True:
            remaining = self.remaining
            room = MAX_PIECE_INTO if remaining is None else min(_MAX_ROOM, max(1, remaining))
            if size is not None:
                room = min(room, size - count)
            piece = filler.read(room)
            ended = len(piece) < room or room in (remaining, size)
            if ended and not count:
                return piece
            count += whole.write(piece)
            if ended or count == size:
                return whole.getvalue()

    def read1(self, size: int | None = -1) -> bytes:
        """Return what is there, at least one byte and at most ``size``; ``b""`` at the end."""
        if size == 0:
            return b""
        return self._take(MAX_PIECE if size is None or size < 0 else size, False)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Read into ``buffer`` as ``read1`` does, and return how many bytes were read."""
        view = memoryview(buffer).cast("B")
        return self._take_into(view) if view else 0

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left, or those up to about ``hint`` bytes in all."""
        lines: list[bytes] = []
        total = 0
        try:
            for line in self:
                lines.append(line)
                total += len(line)
                if hint is not None and 0 < hint <= total:
                    break
        except BaseException as exc:
            if lines:
                self._lose(exc)
            raise
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def discard(self, max_bytes: int) -> bool:
        """Read and drop what is left, up to ``max_bytes``; True if the body's clean end was reached. May switch.

        A client that still waits for its 100 has not said that it will send the body, so then nothing is read.
        """
        remaining = self.remaining
        if self.finished:
            return True
        if self._before_read is not None or (remaining is not None and remaining > max_bytes):
            return False
        try:
            while max_bytes > 0:
                piece = self._take(max_bytes, False)
                if not piece:
                    break
                max_bytes -= len(piece)
        except BadRequest:
            return False
        return self.finished

    # What io.BufferedReader and io.TextIOWrapper ask of a raw stream.

    closed = False  # PEP 3333: the application does not close it

    def close(self) -> None:
        """Do nothing: the body belongs to the server."""

    def flush(self) -> None:
        """Do nothing."""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def writable(self) -> bool:
        """Say no."""
        return False

    def seekable(self) -> bool:
        """Say no."""
        return False

    def _begin(self) -> None:
        """Get ready to ask the source for bytes."""
        if self._failure is not None:
            raise type(self._failure)(*self._failure.args)
        before_read = self._before_read
        if before_read is not None:
            self._before_read = None
            before_read()

    def _lose(self, exc: BaseException) -> None:
        """Let every later read fail: bytes that were taken are lost with the call that ``exc`` interrupts.

        A Timeout of the caller may come out of the source. Going on behind it would hand out a body with a hole.
        """
        if self._failure is None:
            interrupted = BodyError("an earlier read of the body was interrupted")
            # A copy: the traceback of the one that is raised leads back to here.
            self._failure = type(exc)(*exc.args) if isinstance(exc, BadRequest) else interrupted

    def _fail(self, failure: BadRequest) -> NoReturn:
        # Not the one that is raised, whose frames lead back to here: no circle, which would keep a connection alive.
        self._failure = type(failure)(*failure.args)
        try:
            raise failure
        finally:
            del failure


class LengthBody(Body):
    """A body of a known length (RFC 9112 section 6.2)."""

    __slots__ = ("_left",)

    def __init__(self, source: Source, length: int, before_read: Callable[[], None] | None = None) -> None:
        """Read ``length`` bytes from ``source``."""
        super().__init__(source, before_read)
        self._left = length

    @property
    def remaining(self) -> int:
        """How many bytes are still to come."""
        return self._left

    @property
    def finished(self) -> bool:
        """Whether the body was read to its clean end, so that the next request can begin."""
        return self._left == 0 and self._failure is None

    def _find(self, limit: int) -> int:
        if not self._left and self._failure is None:
            return 0
        self._begin()
        return min(limit, self._left)

    def _took(self, count: int) -> None:
        if not count:
            self._fail(BodyError("the body ended before its Content-Length"))
        self._left -= count
        self.received += count


class _At(enum.Enum):
    """Where in a chunked body the source stands."""

    CHUNK_LINE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()  # the CRLF after the data
    TRAILERS = enum.auto()
    END = enum.auto()


class ChunkedBody(Body):
    """A body in the chunked transfer coding (RFC 9112 section 7.1)."""

    __slots__ = ("_at", "_chunk_left", "_extensions", "_max_bytes", "_max_trailers", "_trailer_room", "trailers")

    def __init__(
        self,
        source: Source,
        max_trailers: int = 32,
        max_trailer_bytes: int = 8190,
        max_bytes: int | None = None,
        before_read: Callable[[], None] | None = None,
    ) -> None:
        """Read chunks from ``source``.

        Args:
            source: Where the chunks come from.
            max_trailers: How many trailer fields are taken.
            max_trailer_bytes: How long they may be in all, with their CRLFs.
            max_bytes: How long the body may be; ContentTooLarge is raised at the chunk that would exceed it.
            before_read: Called once, before the first byte is asked for.
        """
        super().__init__(source, before_read)
        self.trailers: list[tuple[str, str]] = []  # complete once the body is finished; never part of the head's fields
        self._at = _At.CHUNK_LINE
        self._chunk_left = 0
        self._extensions = 0  # bytes of chunk extensions so far
        self._max_bytes = max_bytes
        self._max_trailers = max_trailers
        self._trailer_room = max_trailer_bytes

    @property
    def remaining(self) -> int | None:
        """None while nobody knows how many bytes are to come; 0 at the end."""
        return 0 if self.finished else None

    @property
    def finished(self) -> bool:
        """Whether the body was read to its clean end, trailers and all, so that the next request can begin."""
        return self._at is _At.END and self._failure is None

    def _find(self, limit: int) -> int:
        while self._at is not _At.DATA:
            if self._at is _At.END and self._failure is None:
                return 0
            self._begin()
            if self._at is _At.CHUNK_LINE:
                self._read_chunk_line()
            elif self._at is _At.DATA_END:
                self._read_data_end()
            else:
                self._read_trailer()
        self._begin()
        return min(limit, self._chunk_left)

    def _took(self, count: int) -> None:
        if not count:
            self._fail(BodyError("the body ended inside a chunk"))
        self._chunk_left -= count
        self.received += count
        if not self._chunk_left:
            self._at = _At.DATA_END

    def _read_chunk_line(self) -> None:
        line = self._source.readline(MAX_CHUNK_LINE)
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            self._fail(BodyError("bad chunk header" if line else "the body ended before its last chunk"))
        size = int(match[1], 16)
        self._extensions += len(match[2])
        if self._extensions > MAX_EXTENSIONS + self.received:
            self._fail(BodyError("too many chunk extensions"))
        if self._max_bytes is not None and self.received + size > self._max_bytes:
            self._fail(ContentTooLarge("the request body is too large"))
        self._chunk_left = size
        self._at = _At.DATA if size else _At.TRAILERS

    def _read_data_end(self) -> None:
        end = self._source.readline(2)
        if end != b"\r\n":
            self._fail(BodyError("no CRLF after a chunk's data"))
        self._at = _At.CHUNK_LINE

    def _read_trailer(self) -> None:
        line = self._source.readline(self._trailer_room + 2)
        if line == b"\r\n":
            self._at = _At.END
            return
        self._trailer_room -= len(line)
        if self._trailer_room < 0 or len(self.trailers) >= self._max_trailers:
            self._fail(BodyError("too many trailer fields, or too long"))
        if line[-2:] != b"\r\n":
            self._fail(BodyError("bad trailer field" if line else "the body ended inside its trailers"))
        try:
            self.trailers.append(parse_field_line(line[:-2].decode("latin-1")))
        except BadRequest as exc:
            self._fail(BodyError(f"bad trailer field: {exc}"))


class _NoSource:
    """What a body without bytes reads from: nothing ever asks."""

    def read1(self, size: int, /) -> bytes:
        return b""

    def readinto(self, target: memoryview, /) -> int:
        return 0

    def readline(self, limit: int, /) -> bytes:
        return b""


EMPTY_BODY = LengthBody(_NoSource(), 0)  # never changes, so every request without a body may share it
