"""What differs in the module ``time``: ``sleep`` lets other green threads run."""

from __future__ import annotations

import operator
from typing import SupportsIndex

from greenserve._originals import time_sleep
from greenserve.core import waiters
from greenserve.green._parking import find_hub

__all__ = ["sleep"]

_LONGEST = 2**63 / 10**9  # seconds: what CPython's clocks can count in nanoseconds


def sleep(seconds: float | SupportsIndex, /) -> None:
    """``time.sleep``. May switch.

    Raises:
        ValueError: ``seconds`` is negative or NaN.
        OverflowError: It is more than 292 years.
    """
    hub = find_hub()
    if hub is None:
        time_sleep(seconds)
        return
    if not isinstance(seconds, (float, int)):
        seconds = operator.index(seconds)
    if seconds != seconds:  # noqa: PLR0124 - math.isnan costs a call
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if seconds >= _LONGEST:
        raise OverflowError("timestamp too large to convert to C PyTime_t")
    waiters.sleep(seconds)
