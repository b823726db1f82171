"""gevent."""

from __future__ import annotations

import functools

import gevent
import gevent.lock
import gevent.queue
import gevent.socket

from benchmarks.libraries import operations

_LIBRARY = operations.Library(
    spawn=gevent.spawn,
    join=gevent.Greenlet.join,
    sleep=gevent.sleep,
    queue=gevent.queue.Queue,
    semaphore=gevent.lock.Semaphore,
    socketpair=gevent.socket.socketpair,
)

OPERATIONS = operations.over(_LIBRARY)
hold = functools.partial(operations.hold, _LIBRARY)
