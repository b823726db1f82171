"""What a worker tells of itself again and again, in memory that it shares with its master. Knows no process.

A page of its own for each worker, made before the fork. Every number in it stands by itself: whoever reads may get one
of the last beat beside one of the beat before, never half of one, since each is written by one 8-byte store.

The time is CLOCK_MONOTONIC, which all processes of a machine share and nobody can set (clock_gettime(2)).
"""

from __future__ import annotations

import mmap
import struct
from typing import NamedTuple

__all__ = ["Beat", "Pulse"]

# "@" has native alignment, which makes each store one of 8 bytes.
_LAYOUT = struct.Struct("@ddQQQQ")


class Beat(NamedTuple):
    """One beat."""

    at: float  # monotonic seconds; 0 before the first one
    lag: float  # by how many seconds the hub was late for it
    rss: int  # bytes of memory that the process uses; 0 where the system does not tell
    connections: int  # that are open
    requests: int  # whose app was run, since the start
    failed: int  # among those, whose app raised


class Pulse:
    """The shared page of one worker. The worker writes, the master reads."""

    __slots__ = ("_page",)

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def write(self, beat: Beat) -> None:
        """Show ``beat`` to the master."""
        _LAYOUT.pack_into(self._page, 0, *beat)

    def read(self) -> Beat:
        """Return the last beat."""
        return Beat._make(_LAYOUT.unpack_from(self._page, 0))

    def close(self) -> None:
        """Give the page back. Only in the process that reads."""
        self._page.close()
