"""eventlet."""

from __future__ import annotations

import functools

import eventlet
import eventlet.green.socket
import eventlet.greenthread
import eventlet.queue
import eventlet.semaphore

from benchmarks.libraries import operations

_LIBRARY = operations.Library(
    spawn=eventlet.spawn,
    join=eventlet.greenthread.GreenThread.wait,
    sleep=eventlet.sleep,
    queue=eventlet.queue.Queue,
    semaphore=eventlet.semaphore.Semaphore,
    socketpair=eventlet.green.socket.socketpair,
)

OPERATIONS = operations.over(_LIBRARY)
hold = functools.partial(operations.hold, _LIBRARY)
