"""What a server has counted. Numbers alone: who reads them, and where they are shown, is others' business.

A server has none unless it is given one. What is counted here is what only the server's own path knows; whatever can
be found out by looking, such as how many connections are open, is looked for by who wants to know.
"""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["BOUNDS", "Meter"]

# Upper bounds of the histogram's buckets, in seconds; one more bucket has what took longer.
BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip


class Meter:
    """Counts answers. Used by one OS thread, the server's.

    Whoever counts adds to the attributes in place, since a call for each request would cost as much as all the rest.

    Attributes:
        by_status: How many answers had which status, by the status; under 0 those that never came.
        bytes_out: Bytes of the answers' bodies.
        bytes_in: Bytes of the requests' bodies, as far as the app has read them.
        note_time: Takes how long a request took, in seconds. `settle` is to be called now and then: until then each
            time is kept.
    """

    __slots__ = ("_buckets", "_seconds", "_times", "by_status", "bytes_in", "bytes_out", "note_time")

    def __init__(self) -> None:
        self.by_status = [0] * 1000
        self.bytes_out = 0
        self.bytes_in = 0
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0
        self._times: list[float] = []
        self.note_time = self._times.append

    def settle(self) -> None:
        """Sort the times that were noted into their buckets: many at once cost a fraction of one by one."""
        times = self._times
        times.sort()
        self._seconds += sum(times)
        below = 0
        for index, bound in enumerate(BOUNDS):
            end = bisect_right(times, bound, below)
            self._buckets[index] += end - below
            below = end
        self._buckets[-1] += len(times) - below
        times.clear()

    @property
    def buckets(self) -> list[int]:
        """How many requests took how long: the first of `BOUNDS` that they did not exceed, or none of them."""
        self.settle()
        return self._buckets

    @property
    def seconds(self) -> float:
        """How long all of those took together."""
        self.settle()
        return self._seconds
