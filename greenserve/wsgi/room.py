"""Room for connections: a server has only so many at once. For another one an idle one goes, or it waits for its turn.

Knows what connections are at and since when; not what is said on them, nor how they are accepted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from operator import itemgetter

from greenserve._originals import monotonic
from greenserve._words import counted
from greenserve.core.waiters import WaitQueue
from greenserve.errors import ClosedWhileWaiting
from greenserve.net.sockets import GreenSocket
from greenserve.wsgi.connection import Connection, Phase

__all__ = ["Room"]

log = logging.getLogger("greenserve.wsgi")

# Who has been idle for less is left alone when room is needed for another connection.
_IDLE_AT_LEAST = 1.0


class Room:
    """Keeps the connections of a server to ``max_size``.

    Args:
        connections: The open ones; whoever accepts and closes them keeps that up to date.
        max_size: How many there may be.
    """

    def __init__(self, connections: Collection[Connection], max_size: int) -> None:
        self._connections = connections
        self._max_size = max_size
        self._waiting = WaitQueue()  # acceptors, while there is none
        self._longest_idle: deque[tuple[Connection, float]] = deque()  # and since when they were, when last looked at
        self._has_warned = False
        self._is_open = True

    def wait(self, listener: GreenSocket) -> None:
        """Wait until another connection of ``listener`` has room beside the others, or it is closed. May switch."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s open, the most that max_size allows: for more, idle ones close, or they wait in the backlog",
                counted(self._max_size, "connection is", "connections are"),
            )
        while len(self._connections) >= self._max_size and self._is_open:
            try:
                listener.wait_readable()  # nobody has to go before somebody comes
            except ClosedWhileWaiting:
                return
            if len(self._connections) >= self._max_size:
                self._waiting.wait(self._make_room(monotonic()))

    def note_end(self) -> None:
        """Say that one of the connections has ended."""
        self._waiting.wake()

    def close(self) -> None:
        """Let nobody wait any more: the server stops."""
        self._is_open = False
        self._waiting.wake_all()

    def _make_room(self, now: float) -> float:
        """Close the connection that has been idle for longest, if any has for `_IDLE_AT_LEAST`.

        Returns:
            In how many seconds it makes sense to ask again.
        """
        for may_look in (True, False):
            while self._longest_idle:
                connection, since = self._longest_idle.popleft()
                is_idle = connection in self._connections and connection.phase is Phase.IDLE
                if is_idle and connection.idle_since == since:
                    connection.expire()
                    return _IDLE_AT_LEAST
            if may_look:
                # All at once: to look at every connection for each newcomer would take more than to serve them.
                idle = [(each, each.idle_since) for each in self._connections if each.phase is Phase.IDLE]
                oldest = sorted((each for each in idle if now - each[1] >= _IDLE_AT_LEAST), key=itemgetter(1))
                self._longest_idle.extend(oldest)
        return _IDLE_AT_LEAST / 10
