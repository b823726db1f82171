"""The client programs' side of the talk with the benchmark: reports on stdout, words on stdin, and a last moment."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator

__all__ = ["LONGEST_RUN", "is_told", "paced", "report", "wait_told"]

# Seconds that any client program runs at most. Its benchmark ends it long before.
LONGEST_RUN = 120.0

_end = time.monotonic() + LONGEST_RUN


def report(**figures: object) -> None:
    """Send one object to the benchmark."""
    print(json.dumps(figures), flush=True)


def is_told() -> bool:
    """Return whether a word has come, or the time is over."""
    return time.monotonic() > _end or bool(select.select([sys.stdin], [], [], 0)[0])


def wait_told() -> None:
    """Wait for a word, and take it; return when the time is over, too."""
    # Byte by byte from the fd: a buffered reader would take the next word too, and select would not see it.
    while select.select([sys.stdin], [], [], max(_end - time.monotonic(), 0))[0]:
        if os.read(sys.stdin.fileno(), 1) in (b"", b"\n"):
            return


def paced(count: int, per_second: float) -> Iterator[int]:
    """Yield 0 to ``count`` - 1, each not before its time.

    After one that comes late the next follows at once, so that the rate holds on average.
    """
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(start + number / per_second - time.monotonic(), 0))
        yield number
