"""Sums over workers, what lies between two of them, and percentiles. Arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from greenserve.metrics.board import COUNTERS, Figures, State
from greenserve.wsgi.meter import BOUNDS

__all__ = ["Totals", "percentile", "total_of"]

_SUMMED = (
    "green_threads",
    "pool_busy",
    "pool_size",
    "pool_waiting",
    "rss",
    "idle",
    "head",
    "running",
    "closing",
    "taken",
)
_LARGEST = ("lag", "backlog")  # workers that share a listener see the same backlog


class Totals:
    """The figures of all workers together.

    Attributes:
        workers: How many of them are in which state.
        gauges: The sums of those that can be added, and the largest of the others.
        counters: Sums, over workers that have ended too.
        by_status: Likewise, without those that are 0.
        buckets: Likewise.
    """

    __slots__ = ("buckets", "by_status", "counters", "gauges", "workers")

    def __init__(self) -> None:
        self.workers = dict.fromkeys((State.STARTING, State.READY, State.STOPPING), 0)
        self.gauges = dict.fromkeys(_SUMMED + _LARGEST, 0.0)
        self.counters = dict.fromkeys(COUNTERS, 0.0)
        self.by_status: dict[int, int] = {}
        self.buckets = [0.0] * (len(BOUNDS) + 1)


def total_of(slots: Iterable[Figures]) -> Totals:
    """Add up the figures of ``slots``, those without a worker among them."""
    totals = Totals()
    for figures in slots:
        for name in COUNTERS:
            totals.counters[name] += figures.counters[name]
        for status, number in enumerate(figures.by_status):
            if number:
                totals.by_status[status] = totals.by_status.get(status, 0) + int(number)
        totals.buckets = [one + other for one, other in zip(totals.buckets, figures.buckets)]
        if figures.state is State.FREE:
            continue
        totals.workers[figures.state] += 1
        for name in _SUMMED:
            totals.gauges[name] += figures.gauges[name]
        for name in _LARGEST:
            totals.gauges[name] = max(totals.gauges[name], figures.gauges[name])
    return totals


def percentile(buckets: Sequence[float], share: float) -> float | None:
    """The time in seconds that ``share`` (0 to 1) of the requests in ``buckets`` did not exceed; None without any.

    Within a bucket they are taken to be spread evenly; those over the last bound are taken to be at it.
    """
    total = sum(buckets)
    if total <= 0:
        return None
    wanted = share * total
    below = 0.0
    lower = 0.0
    for count, upper in zip(buckets, BOUNDS):
        if count > 0 and below + count >= wanted:
            return lower + (upper - lower) * max(0.0, wanted - below) / count
        below += count
        lower = upper
    return BOUNDS[-1]
