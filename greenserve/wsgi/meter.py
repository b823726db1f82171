"""What a server has counted. Numbers alone: who reads them, and where they are shown, is others' business.

A server has none unless it is given one. What is counted here is what only the server's own path knows; whatever can
be found out by looking, such as how many connections are open, is looked for by who wants to know.
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS", "Meter", "find_bucket"]

# Upper bounds of the histogram's buckets, in seconds; one more bucket has what took longer.
BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip

find_bucket = bisect_left


class Meter:
    """Counts answers. Used by one OS thread, the server's; may be read by any.

    Whoever counts adds to the attributes in place: a call for each request would cost as much as all the rest. What is
    usual is not counted at all where it is what remains: `buckets` finds it out.

    Attributes:
        by_status: How many answers had which status, by the status; under 0 those that never came.
        untimed: How many of these say nothing about time.
        longer: How many requests took longer than the first bound: at ``find_bucket(BOUNDS, seconds)``, the first
            bound that they did not exceed.
        seconds: How long all timed requests took together.
        bytes_out: Bytes of the answers' bodies.
        bytes_in: Bytes of the requests' bodies, as far as the app has read them, once it has answered.
    """

    __slots__ = ("by_status", "bytes_in", "bytes_out", "longer", "seconds", "untimed")

    def __init__(self) -> None:
        self.by_status = [0] * 1000
        self.untimed = 0
        self.longer = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.bytes_out = 0
        self.bytes_in = 0

    @property
    def buckets(self) -> list[int]:
        """How many requests took how long: at each bound those that did not exceed it, and did the one before."""
        timed = sum(self.by_status) - self.untimed
        return [timed - sum(self.longer), *self.longer[1:]]
