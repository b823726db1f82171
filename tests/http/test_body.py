from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import BadRequest, BodyError, ContentTooLarge
from greenserve.http.body import EMPTY_BODY, MAX_CHUNK_LINE, MAX_EXTENSIONS, Body, ChunkedBody, LengthBody
from greenserve.http.response import LAST_CHUNK, chunk
from tests.http.stream import put_into


class Trickle:
    """A source whose bytes come in pieces of the given lengths, over and over; it counts what it handed out."""

    def __init__(self, data: bytes, lengths: list[int] | None = None) -> None:
        self.data = data
        self.lengths = lengths or [len(data) or 1]
        self.calls = 0

    def read1(self, size: int, /) -> bytes:
        assert size > 0
        length = min(size, self.lengths[self.calls % len(self.lengths)])
        self.calls += 1
        return self._cut(length)

    def readinto(self, target: memoryview, /) -> int:
        return put_into(target, self.read1(len(target)))

    def readline(self, limit: int, /) -> bytes:
        assert limit > 0
        self.calls += 1
        end = self.data.find(b"\n", 0, limit)
        return self._cut(end + 1 if end >= 0 else limit)

    def _cut(self, length: int) -> bytes:
        piece, self.data = self.data[:length], self.data[length:]
        return piece


class Interrupted(Trickle):
    """A source that raises at one of its calls, having consumed nothing."""

    def __init__(self, data: bytes, lengths: list[int], at: int) -> None:
        super().__init__(data, lengths)
        self.left = at

    def _cut(self, length: int) -> bytes:
        self.left -= 1
        if self.left == 0:
            raise TimeoutError
        return super()._cut(length)


def encode(pieces: list[bytes]) -> bytes:
    return b"".join(map(chunk, pieces)) + LAST_CHUNK


def make_length(content: bytes, lengths: list[int] | None = None, rest: bytes = b"NEXT") -> tuple[Body, Trickle]:
    source = Trickle(content + rest, lengths)
    return LengthBody(source, len(content)), source


def make_chunked(
    content: bytes, lengths: list[int] | None = None, rest: bytes = b"NEXT", size: int = 3
) -> tuple[Body, Trickle]:
    source = Trickle(encode([content[start : start + size] for start in range(0, len(content), size)]) + rest, lengths)
    return ChunkedBody(source), source


BODIES = pytest.mark.parametrize("make", [make_length, make_chunked])
CONTENT = b"one\ntwo\r\n\n\nthree, without an end"
Make = Callable[..., tuple[Body, Trickle]]


@BODIES
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda body: body.read(), CONTENT),
        (lambda body: body.read(-1), CONTENT),
        (lambda body: body.read(None), CONTENT),
        (lambda body: body.read(1000), CONTENT),
        (lambda body: (body.read(0), body.read(5), body.read(5)), (b"", CONTENT[:5], CONTENT[5:10])),
        (lambda body: (body.readline(), body.readline(), body.readline()), (b"one\n", b"two\r\n", b"\n")),
        (
            lambda body: (body.readline(2), body.readline(0), body.readline(2), body.readline(9)),
            (b"on", b"", b"e\n", b"two\r\n"),
        ),
        (lambda body: (body.readline(None), body.read(2), body.readline(-1)), (b"one\n", b"tw", b"o\r\n")),
        (lambda body: body.readlines(), CONTENT.splitlines(keepends=True)),
        (lambda body: body.readlines(None), CONTENT.splitlines(keepends=True)),
        (lambda body: body.readlines(0), CONTENT.splitlines(keepends=True)),
        (lambda body: body.readlines(5), [b"one\n", b"two\r\n"]),
        (lambda body: body.readlines(4), [b"one\n"]),
        (list, CONTENT.splitlines(keepends=True)),
        (lambda body: io.BufferedReader(body).read(), CONTENT),
        (lambda body: io.TextIOWrapper(io.BufferedReader(body), newline="").read(), CONTENT.decode()),
    ],
)
@pytest.mark.parametrize("lengths", [[1], [2, 1], [1000]])
def test_a_body_reads_like_a_file(make: Make, read, expected, lengths):
    body, _ = make(CONTENT, lengths)
    assert read(body) == expected


@BODIES
def test_a_body_never_reads_past_its_end(make: Make):
    body, source = make(CONTENT)
    assert body.read() == CONTENT
    assert body.finished
    assert (body.remaining, body.received) == (0, len(CONTENT))
    assert source.data == b"NEXT"
    calls = source.calls
    assert (body.read(), body.read(5), body.read1(), body.readline(), body.readlines(), list(body)) == (
        b"",
        b"",
        b"",
        b"",
        [],
        [],
    )
    assert body.readinto(bytearray(5)) == 0
    assert body.discard(0)
    assert source.calls == calls


@BODIES
def test_read1_and_readinto_give_what_is_there(make: Make):
    body, _ = make(b"abcdef", [2])
    buffer = bytearray(5)
    assert (body.read1(0), body.read1(1), body.read1()) == (b"", b"a", b"bc")
    assert body.readinto(buffer) == 2
    assert buffer == b"de\0\0\0"
    assert body.received == 5
    assert not body.finished


def test_a_body_of_a_length_knows_what_remains():
    body, _ = make_length(b"abcdef")
    body.read(2)
    assert (body.remaining, body.received, body.finished) == (4, 2, False)


def test_nobody_knows_what_remains_of_a_chunked_body():
    body, _ = make_chunked(b"abcdef")
    body.read(2)
    assert (body.remaining, body.received, body.finished) == (None, 2, False)


def test_the_empty_body_is_at_its_end():
    assert (EMPTY_BODY.read(), EMPTY_BODY.readline(), EMPTY_BODY.finished, EMPTY_BODY.remaining) == (b"", b"", True, 0)
    assert EMPTY_BODY.discard(0)
    with pytest.raises(AttributeError):
        EMPTY_BODY.anything = 1  # type: ignore[attr-defined]  # shared by all requests, so nothing sticks to it


READS = st.lists(
    st.tuples(st.sampled_from(["read", "read1", "readline", "readinto"]), st.one_of(st.none(), st.integers(-1, 9))),
    max_size=20,
)


@given(
    st.lists(st.binary(min_size=1, max_size=12) | st.just(b"\n") | st.just(b"ab\ncd"), max_size=8),
    st.lists(st.integers(1, 7), min_size=1),
    READS,
)
def test_how_the_bytes_arrive_and_are_framed_changes_nothing(pieces, lengths, reads):
    content = b"".join(pieces)
    for body in (
        LengthBody(Trickle(content + b"NEXT", lengths), len(content)),
        ChunkedBody(Trickle(encode(pieces) + b"NEXT", lengths)),
    ):
        expected = io.BytesIO(content)
        for method, size in reads:
            if method == "read":
                assert body.read(size) == expected.read(size)
            elif method == "readline":
                assert body.readline(size) == expected.readline(-1 if size is None else size)
            elif method == "readinto":
                buffer = bytearray(max(size or 0, 0))
                count = body.readinto(buffer)
                assert buffer[:count] == expected.read(count)
            else:
                piece = body.read1(size)
                assert piece == expected.read(len(piece))
                assert piece or size == 0 or not expected.read(1)
        assert body.read() == expected.read()
        assert body.finished
        assert body.received == len(content)
        assert body._source.data == b"NEXT"


@BODIES
def test_a_body_that_ends_early_raises_then_and_ever_after(make: Make):
    body, source = make(CONTENT, [4], rest=b"")
    source.data = source.data[:-12]
    with pytest.raises(BodyError):
        body.read()
    for read in (
        body.read,
        body.read1,
        body.readline,
        body.readlines,
        lambda: next(body),
        lambda: body.readinto(bytearray(1)),
    ):
        with pytest.raises(BodyError):
            read()
    assert not body.finished
    assert not body.discard(1000)


@given(st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=4), st.data())
def test_no_cut_looks_like_a_clean_end(pieces, data):
    content, message = b"".join(pieces), encode(pieces)
    cut = data.draw(st.integers(0, len(message) - 1))
    for body in (
        ChunkedBody(Trickle(message[:cut])),
        LengthBody(Trickle(content[: min(cut, len(content) - 1)]), len(content)),
    ):
        got = b""
        with pytest.raises(BodyError):
            while True:
                piece = body.read1(3)
                assert piece, "a cut body came to a clean end"
                got += piece
        assert content.startswith(got)
        assert not body.finished


@BODIES
def test_an_error_of_a_body_is_an_os_error_too(make: Make):
    body, source = make(b"abc", rest=b"")
    source.data = b""
    with pytest.raises(OSError, match="ended"):  # what Django and Werkzeug expect of wsgi.input
        body.read()


@given(
    st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(1, 12),
    st.lists(st.integers(1, 3), min_size=1),
)
def test_an_interrupted_read_goes_on_without_a_hole_or_not_at_all(pieces, at, lengths):
    content = b"".join(pieces)
    for body in (
        LengthBody(Interrupted(content, lengths, at), len(content)),
        ChunkedBody(Interrupted(encode(pieces), lengths, at)),
    ):
        got = b""
        while not body.finished:
            try:
                got += body.read(3)
            except TimeoutError:
                continue
            except BodyError:
                break
        assert got == content if body.finished else content.startswith(got)


@pytest.mark.parametrize("at", range(1, 20))
@pytest.mark.parametrize("read", [lambda body: b"".join(body.readlines()), lambda body: b"".join(body.readlines(4))])
def test_interrupted_readlines_go_on_without_a_hole_or_not_at_all(read, at):
    content = b"one\ntwo\nthree"
    for body in (
        LengthBody(Interrupted(content, [2], at), len(content)),
        ChunkedBody(Interrupted(encode([content[:6], content[6:]]), [2], at)),
    ):
        got = b""
        while not body.finished:
            try:
                got += read(body)
            except TimeoutError:
                continue
            except BodyError:
                break
        assert got == content if body.finished else content.startswith(got)


@BODIES
def test_before_the_first_read_the_client_is_told_to_go_on_once(make: Make):
    _, source = make(b"abc")
    told = []

    def tell() -> None:
        told.append(source.calls)

    body = LengthBody(source, 3, tell) if make is make_length else ChunkedBody(source, before_read=tell)
    assert body.read(0) == b""
    assert told == []
    assert body.read() == b"abc"
    assert body.read() == b""
    assert told == [0]


def test_a_client_that_waits_for_its_100_is_not_read_from_in_vain():
    def tell() -> None:
        raise AssertionError("nobody reads, so nothing is to be told")

    source = Trickle(b"abc")
    assert not LengthBody(source, 3, tell).discard(1000)
    assert not ChunkedBody(source, before_read=tell).discard(1000)
    assert LengthBody(source, 0, tell).read() == b""
    assert source.calls == 0


@pytest.mark.parametrize(("bound", "reached"), [(0, False), (5, False), (6, True), (100, True)])
def test_what_is_left_of_a_body_is_dropped_up_to_a_bound(bound, reached):
    body, source = make_length(b"abcdefgh", [2])
    body.read(2)
    assert body.discard(bound) is reached
    assert body.finished is reached
    # What can't be reached in the bound is not worth a read.
    assert source.data == (b"NEXT" if reached else b"cdefghNEXT")


@pytest.mark.parametrize(("bound", "reached"), [(0, False), (5, False), (6, False), (7, True), (100, True)])
def test_the_end_of_a_chunked_body_is_found_a_byte_behind_its_data(bound, reached):
    body, source = make_chunked(b"abcdefgh", [2])
    body.read(2)
    assert body.discard(bound) is reached
    assert body.finished is reached
    if reached:
        assert source.data == b"NEXT"


def test_a_malformed_rest_is_no_end():
    assert not ChunkedBody(Trickle(b"5\r\nabcdefgh")).discard(1000)


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"0003\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"000000000000000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"3;a\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3;a=b\r\nabc\r\n0;c=d\r\n\r\n", b"abc"),
        (b'3;a="b c\\"\\\\d;\t\xff"\r\nabc\r\n0\r\n\r\n', b"abc"),
        (b"3 ; a = b\t;c\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"7\r\n0\r\n\r\nxx\r\n0\r\n\r\n", b"0\r\n\r\nxx"),
    ],
)
def test_a_chunked_body_by_the_grammar(data, content):
    # RFC 9112 section 7.1
    source = Trickle(data + b"NEXT")
    body = ChunkedBody(source)
    assert body.read() == content
    assert source.data == b"NEXT"


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b"+3\r\n",
        b"-3\r\n",
        b"0x3\r\n",
        b"0_3\r\n",
        b"3_\r\n",
        b" 3\r\n",
        b"3 \r\n",
        b"\t3\r\n",
        b"3\t\r\n",
        b"g\r\n",
        b"3.0\r\n",
        b"3,3\r\n",
        b"3 3\r\n",
        b"3\n",
        b"3\r",
        b"3\r\r\n",
        b"3\n\r\n",
        b"\n3\r\n",
        b"\r\n3\r\n",
        b"\xb2\r\n",
        b"00000000000000003\r\n",
        b"ffffffffffffffff3\r\n",
        b"3;\r\n",
        b"3; \r\n",
        b"3;;a\r\n",
        b"3;a;\r\n",
        b"3;a=\r\n",
        b"3;=a\r\n",
        b"3;a=b c\r\n",
        b"3;a b\r\n",
        b"3;a\rb\r\n",
        b"3;a\r\r\n",
        b"3;a\nb\r\n",
        b"3;a\n",
        b"3;a\x00\r\n",
        b'3;a="b\r\n',
        b'3;a="b\nc"\r\n',
        b'3;a="b\rc"\r\n',
        b'3;a="\x00"\r\n',
        b'3;a="\x7f"\r\n',
        b'3;a="\\\n"\r\n',
        b'3;a="b"c\r\n',
        b"3;\xff\r\n",
        b"3a=b\r\n",
        b"3:\r\n",
        b"3;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
    ],
)
def test_a_chunk_header_outside_the_grammar_is_refused(line):
    for data in (line, b"3\r\nabc\r\n" + line):
        body = ChunkedBody(Trickle(data + b"abc\r\n0\r\n\r\n"))
        with pytest.raises(BodyError):
            body.read()
        with pytest.raises(BodyError):
            body.read()


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\n\r", b"\r\r\n", b"x\r\n", b"\rx", b"d\r\n", b"0\r\n"])
def test_a_chunk_that_does_not_end_in_crlf_is_refused(end):
    body = ChunkedBody(Trickle(b"3\r\nabc" + end + b"0\r\n\r\n"))
    assert body.read(3) == b"abc"
    with pytest.raises(BodyError):
        body.read(1)


def test_a_chunk_of_any_size_may_be_announced():
    body = ChunkedBody(Trickle(b"ffffffffffffffff\r\nabc"))
    assert body.read(3) == b"abc"
    with pytest.raises(BodyError):
        body.read()


def test_chunk_extensions_are_bounded_by_the_data_beside_them():
    extension = b";a=" + b"b" * 900
    signed = (b"4000" + extension + b"\r\n" + b"x" * 0x4000 + b"\r\n") * 20 + LAST_CHUNK
    assert len(ChunkedBody(Trickle(signed)).read()) == 20 * 0x4000
    wasteful = (b"1" + extension + b"\r\nx\r\n") * (MAX_EXTENSIONS // 900 + 2) + LAST_CHUNK
    with pytest.raises(BodyError, match="extensions"):
        ChunkedBody(Trickle(wasteful)).read()


def test_trailers_are_kept_apart():
    # RFC 9112 section 7.1.2
    source = Trickle(b"1\r\nx\r\n0\r\nA: 1\r\nContent-Length:\t5 \r\na: 2\r\n\r\nNEXT")
    body = ChunkedBody(source)
    assert body.read(1) == b"x"
    assert body.trailers == []
    assert body.read(1) == b""
    assert body.trailers == [("A", "1"), ("Content-Length", "5"), ("a", "2")]
    assert source.data == b"NEXT"


@pytest.mark.parametrize(
    "trailers",
    [
        b"A\r\n\r\n",
        b"A : b\r\n\r\n",
        b" A: b\r\n\r\n",
        b"A: b\r\n c\r\n\r\n",
        b": b\r\n\r\n",
        b"A: b\n\r\n",
        b"A: b\n\n",
        b"\n",
        b"\r",
        b"\rA: b\r\n\r\n",
        b"A: b\rc\r\n\r\n",
        b"A: \x00\r\n\r\n",
        b"A: b\r\n",
        b"A: b",
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"A: b\r\n" * 33 + b"\r\n",
        b"A: " + b"b" * 8190 + b"\r\n\r\n",
    ],
)
def test_trailers_outside_the_grammar_or_the_bounds_are_refused(trailers):
    body = ChunkedBody(Trickle(b"1\r\nx\r\n0\r\n" + trailers))
    assert body.read(1) == b"x"
    for _ in range(2):
        with pytest.raises(BodyError):
            body.read(1)
    assert not body.finished


def test_trailers_at_their_bounds_are_taken():
    body = ChunkedBody(Trickle(b"0\r\n" + b"A: b\r\n" * 2 + b"\r\n"), max_trailers=2, max_trailer_bytes=12)
    assert body.read() == b""
    assert body.trailers == [("A", "b")] * 2
    with pytest.raises(BodyError):
        ChunkedBody(Trickle(b"0\r\n" + b"A: b\r\n" * 2 + b"\r\n"), max_trailers=2, max_trailer_bytes=11).read()


def test_a_chunked_body_over_its_bound_is_answered_with_413():
    message = encode([b"abc", b"def"]) + b"NEXT"
    assert ChunkedBody(Trickle(message), max_bytes=6).read() == b"abcdef"
    body = ChunkedBody(Trickle(message), max_bytes=5)
    assert body.read(3) == b"abc"
    for _ in range(2):
        with pytest.raises(ContentTooLarge):
            body.read(1)
    assert not body.discard(1000)


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"1", b"0", b"\r\n", b"\r", b"\n", b"x", b";a", b"A: b", b" "])).map(b"".join)
)
def test_any_bytes_are_a_chunked_body_or_refused(data):
    source = Trickle(data, [1])
    body = ChunkedBody(source)
    try:
        content = body.read()
    except BadRequest:
        assert not body.finished
        return
    assert body.finished
    assert data.endswith(source.data)
    # It is well-formed, so it survives in a canonical form.
    assert ChunkedBody(Trickle(encode([content]))).read() == content


def test_a_long_line_in_many_chunks_takes_linear_time():
    pieces = 20_000
    source = io.BytesIO((b"1\r\nx\r\n" * pieces) + b"1\r\n\n\r\n" + LAST_CHUNK)
    counted = CountingSource(source)
    assert ChunkedBody(counted).readline() == b"x" * pieces + b"\n"
    assert counted.calls == 3 * pieces + 2  # a header, the data, a CRLF; the last CRLF is left for the next read


class CountingSource:
    def __init__(self, source: io.BytesIO) -> None:
        self.source = source
        self.calls = 0

    def read1(self, size: int, /) -> bytes:
        self.calls += 1
        return self.source.read1(size)

    def readinto(self, target: memoryview, /) -> int:
        self.calls += 1
        return self.source.readinto(target)

    def readline(self, limit: int, /) -> bytes:
        self.calls += 1
        return self.source.readline(limit)
