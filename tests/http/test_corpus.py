from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.stream import CORPUS, check_stream

MESSAGES = {path.stem: path.read_bytes() for path in sorted(CORPUS.glob("*.http"))}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_gets_the_answer_in_its_name(name):
    for lengths in ([1], [2, 3], [7], [4096]):
        stream = check_stream(MESSAGES[name], lengths)
        if name.startswith("200-"):
            assert stream.refusal is None
            assert stream.rest == b""
            assert stream.requests
        else:
            assert stream.refusal is not None
            assert stream.refusal.status[:3] == name[:3]
            # Nothing behind the refused message was taken for a request.
            assert stream.requests == []


def test_the_corpus_has_an_example_of_every_answer():
    assert {name[:3] for name in MESSAGES} == {"200", "400", "414", "417", "431", "501", "505"}


@given(st.sampled_from(sorted(MESSAGES)), st.lists(st.integers(1, 50), min_size=1), st.data())
def test_a_changed_message_is_read_in_one_way_or_refused(name, lengths, data):
    message = bytearray(MESSAGES[name][:2000])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(message)))
        end = data.draw(st.integers(start, min(len(message), start + 5)))
        message[start:end] = data.draw(
            st.sampled_from([b"", b"\r\n", b"\r", b"\n", b" ", b":", b"\x00", b"0", b"\xff", b";", b","])
        )
    check_stream(bytes(message), lengths)


@given(
    st.lists(st.sampled_from(sorted(name for name in MESSAGES if name.startswith("200-"))), max_size=4),
    st.integers(1, 99),
)
def test_requests_are_read_from_a_pipeline_as_they_are_read_alone(chosen, length):
    keeping = [
        name for name in chosen if all(r.framing.keep_alive for r in check_stream(MESSAGES[name], [99]).requests)
    ]
    alone = [request for name in keeping for request in check_stream(MESSAGES[name], [99]).requests]
    assert check_stream(b"".join(MESSAGES[name] for name in keeping), [length]).requests == alone
