"""Ends the green threads that a library of others leaves asleep behind a test, and that know no end of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from greenlet import greenlet

import greenserve
from greenserve.testing import wait_until_parked


@contextmanager
def ending_what_is_left_asleep() -> Iterator[None]:
    """Kill those that sleep at the end of the block in this OS thread's hub, and did not at its beginning."""
    before = _sleepers()
    try:
        yield
    finally:
        for key, thread in _sleepers().items():
            if key not in before:
                greenserve.kill(thread)
        wait_until_parked()


def _sleepers() -> dict[int, greenlet]:
    found: dict[int, Any] = {}
    for _, _, handle in greenserve.get_hub().timers.heap:
        owner = getattr(handle.fire, "__self__", None)
        if isinstance(owner, greenlet) and owner is not greenserve.getcurrent():
            found[id(owner)] = owner
    return found
