"""Every request in a stream of bytes, read the way a connection reads them: head by head, body by body.

The bytes come in pieces. ``read_stream`` is what the corpus, the properties over whole streams and the fuzzer share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from greenserve.errors import BadRequest
from greenserve.http.body import EMPTY_BODY, Body, ChunkedBody, LengthBody
from greenserve.http.framing import BodyKind, Framing, frame_request
from greenserve.http.head import Fields, Limits, RequestLine, check_partial, take_head

CORPUS = Path(__file__).parent.parent / "corpus" / "http"
LIMITS = Limits()


class Request(NamedTuple):
    """One request that was accepted."""

    line: RequestLine
    fields: tuple[tuple[str, str], ...]
    framing: Framing
    content: bytes
    trailers: tuple[tuple[str, str], ...]


class Stream(NamedTuple):
    """What a stream of bytes was read as."""

    requests: list[Request]
    refusal: BadRequest | None  # why reading stopped, unless at the end of the stream
    rest: bytes  # what was not read, or not read to an end


class Pieces:
    """A source of bytes that arrive in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.buffer = b""

    def fill(self) -> bool:
        piece = next(self.pieces, b"")
        self.buffer += piece
        return piece != b""

    def take(self, length: int) -> bytes:
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def read1(self, size: int, /) -> bytes:
        if not self.buffer:
            self.fill()
        return self.take(size)

    def readinto(self, target: memoryview, /) -> int:
        return put_into(target, self.read1(len(target)))

    def readline(self, limit: int, /) -> bytes:
        end = self.buffer.find(b"\n", 0, limit) + 1
        while not end and len(self.buffer) < limit and self.fill():
            end = self.buffer.find(b"\n", 0, limit) + 1
        return self.take(end or limit)


def put_into(target: memoryview, data: bytes) -> int:
    """What ``readinto`` does, for a source that has bytes to give."""
    target[: len(data)] = data
    return len(data)


def read_stream(pieces: Iterator[bytes]) -> Stream:
    """Read all requests in a stream whose pieces are not empty, up to its end or the first refusal."""
    source = Pieces(pieces)
    requests: list[Request] = []
    refusal: BadRequest | None = None
    try:
        while True:
            head = read_head(source)
            if head is None:
                break
            line, fields = head
            framing = frame_request(line, fields.variables)
            body = make_body(source, framing)
            content = body.read()
            assert body.finished
            trailers = tuple(body.trailers) if isinstance(body, ChunkedBody) else ()
            requests.append(Request(line, fields.raw, framing, content, trailers))
            if not framing.keep_alive:
                break
    except BadRequest as exc:
        refusal = exc
    return Stream(requests, refusal, source.buffer)


def read_head(source: Pieces) -> tuple[RequestLine, Fields] | None:
    seen = 0
    while (head := take_head(source.buffer, LIMITS, seen=seen)) is None:
        check_partial(source.buffer, LIMITS, 0, seen)
        seen = len(source.buffer)
        if not source.fill():
            return None
    line, fields, end = head
    source.take(end)
    return line, fields


def make_body(source: Pieces, framing: Framing) -> Body:
    if framing.body is BodyKind.LENGTH:
        return LengthBody(source, framing.length)
    return ChunkedBody(source) if framing.body is BodyKind.CHUNKED else EMPTY_BODY


def cut(data: bytes, lengths: list[int]) -> Iterator[bytes]:
    """Cut ``data`` into pieces of these lengths, over and over."""
    start = turn = 0
    while start < len(data):
        length = lengths[turn % len(lengths)]
        yield data[start : start + length]
        start += length
        turn += 1


def write_request(request: Request) -> bytes:
    """Write a request in the one form that leaves nothing to choose."""
    line = f"{request.line.method} {request.line.target} {request.line.version}\r\n"
    fields = "".join([f"{name}: {value}\r\n" for name, value in request.fields])
    head = f"{line}{fields}\r\n".encode("latin-1")
    if request.framing.body is not BodyKind.CHUNKED:
        return head + request.content
    data = b"%x\r\n%b\r\n" % (len(request.content), request.content) if request.content else b""
    trailers = "".join([f"{name}: {value}\r\n" for name, value in request.trailers]).encode("latin-1")
    return head + data + b"0\r\n" + trailers + b"\r\n"


def check_stream(data: bytes, lengths: list[int]) -> Stream:
    """Read a stream whole, in pieces, and rewritten, and hold all three against each other.

    1. Nothing but BadRequest comes out of any bytes.
    2. How the bytes are cut changes neither the requests nor whether the stream is refused.
    3. Each request, written again, is read as the same request.
    4. No request has two framings, two Hosts or a control character in a field.
    """
    stream = read_stream(iter([data] if data else []))
    in_pieces = read_stream(cut(data, lengths))
    assert in_pieces.requests == stream.requests
    assert (in_pieces.refusal is None) == (stream.refusal is None)
    for request in stream.requests:
        again = read_stream(iter([write_request(request) + b"NEXT"]))
        assert again.requests[0] == request
        check_request(request)
    return stream


def check_request(request: Request) -> None:
    names = [name.lower() for name, _ in request.fields]
    assert not ("content-length" in names and "transfer-encoding" in names)
    assert names.count("host") == 1 or (names.count("host") == 0 and request.line.version == "HTTP/1.0")
    assert names.count("transfer-encoding") <= 1
    for name, value in (*request.fields, *request.trailers):
        assert name.isascii()
        assert not any(character < " " and character != "\t" for character in name + value)
    assert not any(character in request.line.target for character in " \r\n\t\x00#")
    if request.framing.body is not BodyKind.CHUNKED:
        assert len(request.content) == request.framing.length
