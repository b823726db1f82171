"""greenserve."""

from __future__ import annotations

import functools

import greenserve
import greenserve.net.sockets
from benchmarks.libraries import operations

_LIBRARY = operations.Library(
    spawn=greenserve.spawn,
    join=greenserve.GreenThread.wait,
    sleep=greenserve.sleep,
    queue=greenserve.Queue,
    semaphore=greenserve.Semaphore,
    socketpair=greenserve.net.sockets.socketpair,
)

OPERATIONS = operations.over(_LIBRARY)
hold = functools.partial(operations.hold, _LIBRARY)
