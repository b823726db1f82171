"""What a server has counted. Numbers alone: who reads them, and where they are shown, is others' business.

A server has none unless it is given one. What is counted here is what only the server's own path knows; whatever can
be found out by looking, such as how many connections are open, is looked for by who wants to know.
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS", "UNTIMED", "Meter", "find_bucket"]

# Upper bounds of the histogram's buckets, in seconds; one more bucket has what took longer.
BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip

find_bucket = bisect_left

# The bucket of those whose time says nothing about the server.
UNTIMED = len(BOUNDS) + 1

_STATUSES = 1000


class Meter:
    """Counts answers. Used by one OS thread, the server's; may be read by any.

    Whoever counts adds to the attributes in place: a call for each request would cost as much as all the rest.

    Attributes:
        answers: How many answers had which status and took how long: a row for each status, that under 0 for those that
            never came, and in it a place for each bucket. That is at ``find_bucket(BOUNDS, seconds)``, the first bound
            that they did not exceed, or at `UNTIMED`.
        seconds: How long all but the untimed took together.
        bytes_out: Bytes of the answers' bodies.
        bytes_in: Bytes of the requests' bodies, as far as the app has read them.
    """

    __slots__ = ("answers", "bytes_in", "bytes_out", "seconds")

    def __init__(self) -> None:
        self.answers = [[0] * (UNTIMED + 1) for _ in range(_STATUSES)]
        self.seconds = 0.0
        self.bytes_out = 0
        self.bytes_in = 0

    @property
    def by_status(self) -> list[int]:
        """How many answers had which status."""
        return [sum(row) for row in self.answers]

    @property
    def buckets(self) -> list[int]:
        """How many answers took how long, without the untimed."""
        return [sum(column) for column in zip(*self.answers)][:UNTIMED]
