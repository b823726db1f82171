"""Frames as values: what comes of bytes, whole, in pieces, and broken."""

from __future__ import annotations

import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.websocket.codec import agreed_deflate, client_codec, negotiate, server_codec
from greenserve.websocket.options import Deflate
from tests.websocket.peers import BINARY, CLOSE, CONT, FINAL, PING, PONG, TEXT, close_payload, frame

LIMIT = 1000


def make(limit=LIMIT, deflate=None):
    extensions = [] if deflate is None else negotiate("permessage-deflate; client_max_window_bits", deflate)[1]
    return server_codec(limit, extensions, None)


def feed(codec, data):
    codec.receive(data)
    while codec.has_unparsed:
        codec.parse()
    return codec


def messages_of(data, **keywords):
    return list(feed(make(**keywords), data).messages)


def test_messages_come_as_what_they_are():
    data = frame(TEXT, "é".encode()) + frame(BINARY, b"\xff") + frame(TEXT) + frame(BINARY)
    assert messages_of(data) == ["é", b"\xff", "", b""]


def test_fragments_become_one_message_around_control_frames():
    text = "häß".encode()
    data = frame(TEXT, text[:2], final=False) + frame(PING, b"p") + frame(CONT, text[2:3], final=False)
    codec = feed(make(), data + frame(CONT, text[3:]) + frame(BINARY, b"1", final=False) + frame(CONT, b"2"))
    assert list(codec.messages) == ["häß", b"12"]
    assert codec.replies == bytes([FINAL | PONG, 1]) + b"p"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, "é".encode()[:1]), 1007),
        (frame(TEXT, b"\xed\xa0\x80"), 1007),
        (frame(TEXT, b"\xff", final=False) + frame(CONT), 1007),
        (frame(TEXT, b"a", final=False) + frame(CONT, b"\xc3"), 1007),
        (frame(TEXT, b"x" * (LIMIT + 1)), 1009),
        (frame(TEXT, b"x" * LIMIT, final=False) + frame(CONT, b"x"), 1009),
        (frame(CONT, b"x"), 1002),
        (frame(TEXT, b"x", final=False) + frame(TEXT, b"x"), 1002),
        (frame(TEXT, b"x", mask=None), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"x", final=False), 1002),
        (frame(3), 1002),
        (frame(0x40 | TEXT, b"x"), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, close_payload(1005)), 1002),
        (frame(CLOSE, close_payload(1000) + b"\xff"), 1007),
    ],
)
def test_what_breaks_the_rules_ends_the_connection_with_the_code_for_it(data, code):
    codec = feed(make(), frame(TEXT, b"before") + data + frame(TEXT, b"after"))
    assert list(codec.messages) == ["before"]
    assert codec.close_details()[0] == code
    assert codec.replies[:4] == bytes([FINAL | CLOSE, len(codec.replies) - 2, *code.to_bytes(2, "big")])
    assert codec.ends
    assert codec.is_over
    assert not codec.is_open


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (close_payload(1000), 1000, ""), (close_payload(4321, "schön"), 4321, "schön")],
)
def test_a_close_frame_is_answered_with_the_same(payload, code, reason):
    codec = feed(make(), frame(TEXT, b"x", final=False) + frame(CLOSE, payload) + frame(TEXT, b"after"))
    assert codec.replies == frame(CLOSE, payload, mask=None)
    assert codec.close_details() == (code, reason)
    assert codec.is_clean
    assert list(codec.messages) == []


def test_an_end_without_a_close_frame_is_1006():
    codec = make()
    codec.receive(b"")
    codec.receive(b"")
    assert codec.close_details()[0] == 1006
    assert codec.eof
    assert not codec.is_clean


def test_a_message_of_countless_fragments_takes_no_more_than_its_bytes():
    codec = make()
    feed(codec, frame(BINARY, b"", final=False))
    for _ in range(200):
        feed(codec, frame(CONT, b"", final=False) * 50)
    feed(codec, frame(CONT, b"x"))
    assert list(codec.messages) == [b"x"]


def deflated(data):
    compressor = zlib.compressobj(wbits=-11)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_what_decompresses_to_too_much_is_refused_before_it_is_there():
    bomb = deflated(bytes(50_000_000))
    assert len(bomb) < 60_000
    codec = make(limit=100_000, deflate=Deflate())
    feed(codec, frame(0x40 | BINARY, bomb))
    assert codec.close_details()[0] == 1009
    assert list(codec.messages) == []


def test_several_compressed_messages_are_not_all_decompressed_at_once():
    message = frame(0x40 | BINARY, deflated(bytes(90_000)))
    codec = make(limit=100_000, deflate=Deflate(keep_context=False))
    codec.receive(message * 100)
    assert 0 < len(codec.messages) < 60
    assert codec.has_unparsed


@pytest.mark.parametrize("deflate", [Deflate(), Deflate(keep_context=False), Deflate(15, 9)])
def test_compressed_messages_come_out_as_they_went_in(deflate):
    ours = make(limit=10**6, deflate=deflate)
    inflater = zlib.decompressobj(wbits=-15)
    for text in ("hello " * 50, "", "hello " * 50):
        sent = ours.message(text)
        assert sent[0] == FINAL | 0x40 | TEXT
        payload = sent[2:] if sent[1] < 126 else sent[4:]
        if not deflate.keep_context:
            inflater = zlib.decompressobj(wbits=-15)
        assert inflater.decompress(payload + b"\0\0\xff\xff") == text.encode()


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ("permessage-deflate", "permessage-deflate; server_max_window_bits=11"),
        (
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=11",
        ),
        ("permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=8", None),
        ("permessage-deflate; nonsense", None),
        ("permessage-deflate; nonsense, permessage-deflate", "permessage-deflate; server_max_window_bits=11"),
        ("x-webkit-deflate-frame", None),
    ],
)
def test_an_offer_to_compress_is_answered_or_declined(offered, answer):
    said, extensions = negotiate(offered, Deflate())
    assert said == answer
    assert len(extensions) == (answer is not None)


@pytest.mark.parametrize("offered", ["", "permessage-deflate; =", "\xff", "a;;b"])
def test_an_offer_that_is_none_is_an_error(offered):
    with pytest.raises(ValueError, match="Sec-WebSocket-Extensions"):
        negotiate(offered, Deflate())


CONTENTS = st.one_of(st.text(max_size=200), st.binary(max_size=200))


def encode(message, cuts, wide):
    kind = TEXT if isinstance(message, str) else BINARY
    data = message.encode() if isinstance(message, str) else message
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges)]
    return b"".join(
        frame(CONT if index else kind, part, final=index == len(parts) - 1, wide=wide)
        for index, part in enumerate(parts)
    )


def in_pieces(codec, data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if start < end:
            feed(codec, data[start:end])
    return codec


NUMBERS = st.lists(st.integers(0, 1 << 16), max_size=8)


@given(st.lists(st.tuples(CONTENTS, NUMBERS, st.booleans()), max_size=5), NUMBERS)
def test_however_messages_are_cut_into_fragments_and_pieces_they_come_whole(messages, cuts):
    data = b"".join(encode(*each) for each in messages)
    codec = in_pieces(make(), data, cuts)
    assert list(codec.messages) == [each[0] for each in messages]
    assert codec.is_open
    assert codec.replies == b""


@pytest.mark.parametrize("wide", [False, True])
def test_a_piece_of_a_frame_that_looks_like_a_frame_is_none(wide):
    inner = frame(TEXT, b"inner")
    outer = frame(BINARY, b"before" + inner + b"behind", mask=b"\0\0\0\0", wide=wide)
    codec = feed(make(), frame(TEXT, b"1", wide=wide))
    place = outer.index(inner)
    for piece in (outer[:place], inner, outer[place + len(inner) :], frame(TEXT, b"2")):
        feed(codec, piece)
    assert list(codec.messages) == ["1", b"before" + inner + b"behind", "2"]


def test_a_short_message_is_still_held_to_the_limit_and_to_the_rules():
    assert messages_of(frame(TEXT, b"x" * 11), limit=10) == []
    codec = feed(make(), frame(TEXT, b"a", final=False))
    assert feed(codec, frame(TEXT, b"b")).close_details()[0] == 1002
    codec = feed(make(), frame(CLOSE))
    assert list(feed(codec, frame(TEXT, b"late")).messages) == []


OPCODES = st.sampled_from([CONT, TEXT, BINARY, CLOSE, PING, PONG])
FRAMES = st.builds(frame, OPCODES, st.binary(max_size=130), final=st.booleans())
MUTATION = st.tuples(st.integers(0, 1 << 16), st.integers(0, 255))


@given(st.lists(FRAMES, max_size=6), st.lists(MUTATION, max_size=4), NUMBERS, st.booleans())
def test_whatever_bytes_come_the_codec_goes_on_or_ends_in_order(frames, mutations, cuts, compressed):
    data = bytearray(b"".join(frames))
    for place, value in mutations:
        if data:
            data[place % len(data)] = value
    codec = make(deflate=Deflate() if compressed else None)
    in_pieces(codec, bytes(data), cuts)
    assert codec.is_open is not codec.is_over
    assert sum(map(len, codec.messages)) <= max(len(data) * 1100, LIMIT * len(frames))
    assert all(len(message) <= LIMIT for message in codec.messages)
    if codec.is_over:
        code = codec.close_details()[0]
        assert code == 1005 or 1000 <= code < 1004 or code in (1007, 1009) or 1010 <= code < 5000
        assert codec.ends
    codec.receive(b"")
    assert codec.is_over


@given(st.binary(max_size=300), NUMBERS)
def test_noise_never_becomes_more_than_an_end(data, cuts):
    codec = in_pieces(make(), data, cuts)
    codec.receive(b"")
    assert codec.ends


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"client_no_context_takeover": True, "server_no_context_takeover": True},
        {"client_max_window_bits": 9, "server_max_window_bits": 10},
        {"server_max_window_bits": None},
    ],
)
def test_two_ends_that_somebody_else_has_introduced_understand_each_other(parameters: dict[str, Any]) -> None:
    client = client_codec(1 << 20, [agreed_deflate(parameters, True)], "chat")
    server = server_codec(1 << 20, [agreed_deflate(parameters, False)], "chat")
    for message in ("text", b"bytes" * 1000, "text"):
        server.receive(client.message(message))
        client.receive(server.message(message))
        assert (server.messages.popleft(), client.messages.popleft()) == (message, message)
    assert (client.subprotocol, server.subprotocol) == ("chat", "chat")


@pytest.mark.parametrize("name", ["client_max_window_bits", "server_max_window_bits"])
@pytest.mark.parametrize("bits", [7, 16])
def test_a_window_outside_of_the_rfc_is_refused(name: str, bits: int) -> None:
    with pytest.raises(ValueError, match="8 to 15"):
        agreed_deflate({name: bits}, True)
