"""What holds for every test of the core: it leaves nothing scheduled on this thread's hub, and nobody waiting."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from greenserve.core import Hub, get_hub
from greenserve.testing import wait_until_parked


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = _counts()
    yield
    wait_until_parked()
    assert _counts() == before, (
        "the test left timers, or fds that somebody waits for, or has ended those of another one"
    )


def _counts() -> tuple[int, int]:
    hub = get_hub()
    return len(hub.timers), sum(bool(source.readers or source.writers) for source in hub.poller.sources.values())


@pytest.fixture
def hub() -> Hub:
    return get_hub()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's reading and writing end, both non-blocking. The test may close them, and says so to nobody."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    inodes = [os.fstat(reader).st_ino, os.fstat(writer).st_ino]
    yield reader, writer
    for fd, inode in zip((reader, writer), inodes, strict=True):
        try:
            is_open = os.fstat(fd).st_ino == inode
        except OSError:
            is_open = False
        if is_open:
            os.close(fd)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No log of failures: pytest would keep each with its traceback, and so all that its frames refer to."""
    monkeypatch.setattr(logging.getLogger("greenserve.core"), "disabled", True)
