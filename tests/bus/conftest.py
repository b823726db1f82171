from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[str]:
    """A path for a folder. Not pytest's own, which may be too long for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="bus") as around:
        yield str(Path(around, "meeting"))
