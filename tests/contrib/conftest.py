"""What holds for every test here: the libraries that it drives leave nobody asleep on this thread's hub."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leftovers import ending_what_is_left_asleep


@pytest.fixture(autouse=True)
def _nobody_is_left_asleep() -> Iterator[None]:
    with ending_what_is_left_asleep():
        yield
