"""Messages on a stream: whatever pieces they come in, they are the same ones in the same order."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve._bus.frames import MAX_MESSAGE, FrameReader, FrameTooLarge, encode_frame

MESSAGES = st.lists(st.binary(max_size=40), max_size=6)


@given(MESSAGES, st.data())
def test_messages_come_out_as_they_went_in_whatever_the_pieces(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(encode_frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        found += reader.feed(stream[start:end])
    assert found == messages
    assert list(reader.feed(encode_frame(b"next"))) == [b"next"], "nothing was left"


@given(MESSAGES, st.binary(min_size=1, max_size=40), st.data())
def test_a_stream_that_is_cut_off_gives_what_was_whole(messages: list[bytes], last: bytes, data: st.DataObject) -> None:
    frame = encode_frame(last)
    cut = data.draw(st.integers(1, len(frame) - 1))
    reader = FrameReader()
    assert list(reader.feed(b"".join(map(encode_frame, messages)) + frame[:cut])) == messages
    assert list(reader.feed(frame[cut:])) == [last], "and the rest, when it comes after all"


@given(st.binary(max_size=200))
def test_any_bytes_give_messages_or_one_kind_of_error(stream: bytes) -> None:
    found: list[bytes] = []
    with suppress(FrameTooLarge):
        found.extend(FrameReader().feed(stream))
    assert stream.startswith(b"".join(map(encode_frame, found)))


@pytest.mark.parametrize("length", [MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_a_length_over_the_limit_is_refused_before_anything_is_kept_for_it(length: int) -> None:
    reader = FrameReader()
    with pytest.raises(FrameTooLarge, match=f"and {length} are announced"):
        list(reader.feed(encode_frame(b"before") + length.to_bytes(4, "big")))


def test_a_message_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameTooLarge, match="bytes at most"):
        encode_frame(bytes(MAX_MESSAGE + 1))
