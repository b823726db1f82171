"""Numbers in messages, in right English."""

from __future__ import annotations

import pytest

from greenserve._words import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("request",), "0 requests"),
        (1, ("request",), "1 request"),
        (2, ("request",), "2 requests"),
        (1, ("message was", "messages were"), "1 message was"),
        (2, ("message was", "messages were"), "2 messages were"),
    ],
)
def test_one_of_something_is_told_in_the_singular(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text
