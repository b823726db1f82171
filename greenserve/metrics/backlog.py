"""How many connections wait to be accepted, and a warning when there is hardly room for more.

Facts this rests on (Linux, ``tcp_diag.c`` and ``linux/tcp.h``): of a listening TCP socket, TCP_INFO has the length of
the accept queue where other sockets have the segments that were not acknowledged, and how long it may get where they
have those that were acknowledged selectively. Other systems, and Unix sockets, don't tell.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from greenserve._originals import base_socket
from greenserve._words import counted

__all__ = ["AcceptQueue", "BacklogWatch", "accept_queue"]

log = logging.getLogger("greenserve.wsgi")

# 8 bytes, four fields of 4, and the two.
_TCP_INFO = struct.Struct("8x 16x I I")

# Who was warned is left alone for so long, in seconds.
_QUIET = 60.0


class AcceptQueue(NamedTuple):
    """How many connections wait in it, and how many may."""

    waiting: int
    most: int


def accept_queue(listener: base_socket) -> AcceptQueue | None:
    """The accept queue of a listening socket; None where the system does not tell, or the socket is closed."""
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6) or listener.fileno() < 0:
        return None
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    return AcceptQueue._make(_TCP_INFO.unpack(info))


class BacklogWatch:
    """Warns when an accept queue is half full: call `look` about once a second.

    Args:
        fds: Returns the listening sockets' fds.
    """

    def __init__(self, fds: Callable[[], Iterable[int]]) -> None:
        self._fds = fds
        self._quiet_until = 0.0

    def look(self, now: float) -> None:
        """Look at all of them. ``now`` is in monotonic seconds."""
        if now < self._quiet_until:
            return
        for fd in self._fds():
            queue = _queue_of(fd)
            if queue is not None and queue.most and queue.waiting * 2 >= queue.most:
                self._quiet_until = now + _QUIET
                log.warning(
                    "%s to be accepted, of the %d that the system holds: there is more to do than "
                    "this server can, or something blocks it",
                    counted(queue.waiting, "connection waits", "connections wait"),
                    queue.most,
                )
                return


def _queue_of(fd: int) -> AcceptQueue | None:
    try:
        listener = base_socket(fileno=os.dup(fd))
    except OSError:  # it was closed
        return None
    try:
        return accept_queue(listener)
    finally:
        listener.close()
