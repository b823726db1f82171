"""What holds for every test of the asyncio side: the loop that green threads share ends with the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenserve import aio
from greenserve.core import get_hub, sleep


@pytest.fixture(autouse=True)
def _nothing_of_asyncio_is_left() -> Iterator[None]:
    yield
    aio._end_here()
    sleep(0)
    hub = get_hub()
    assert hub.switch == hub.greenlet.switch, "a switch still looks for a loop though none runs"
