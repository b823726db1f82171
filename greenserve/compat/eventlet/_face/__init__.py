"""What ``import eventlet`` gives. Its modules have the names of eventlet's, and hold their names onto ours."""

from __future__ import annotations

from greenlet import getcurrent

from greenserve.compat.eventlet._face import (
    convenience,
    event,
    greenio,
    greenpool,
    greenthread,
    hubs,
    lock,
    patcher,
    queue,
    semaphore,
    support,
    timeout,
)
from greenserve.compat.eventlet._names import VERSION as __version__  # noqa: N811 - the name that modules have for it

__all__ = [
    "BoundedSemaphore",
    "CappedSemaphore",
    "Event",
    "EventletDeprecationWarning",
    "GreenPile",
    "GreenPool",
    "Queue",
    "Semaphore",
    "StopServe",
    "Timeout",
    "TimeoutError",
    "__version__",
    "call_after_global",
    "connect",
    "convenience",
    "event",
    "exc_after",
    "getcurrent",
    "greenio",
    "greenpool",
    "greenthread",
    "hubs",
    "import_patched",
    "is_timeout",
    "kill",
    "listen",
    "lock",
    "monkey_patch",
    "patcher",
    "queue",
    "semaphore",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_n",
    "support",
    "timeout",
    "with_timeout",
    "wrap_is_timeout",
    "wrap_ssl",
]

connect = convenience.connect
listen = convenience.listen
serve = convenience.serve
StopServe = convenience.StopServe
wrap_ssl = convenience.wrap_ssl

Event = event.Event

GreenPool = greenpool.GreenPool
GreenPile = greenpool.GreenPile

sleep = greenthread.sleep
spawn = greenthread.spawn
spawn_n = greenthread.spawn_n
spawn_after = greenthread.spawn_after
kill = greenthread.kill

import_patched = patcher.import_patched
monkey_patch = patcher.monkey_patch

Queue = queue.Queue

Semaphore = semaphore.Semaphore
CappedSemaphore = semaphore.CappedSemaphore
BoundedSemaphore = semaphore.BoundedSemaphore

Timeout = timeout.Timeout
with_timeout = timeout.with_timeout
wrap_is_timeout = timeout.wrap_is_timeout
is_timeout = timeout.is_timeout

TimeoutError = support.wrap_deprecated("TimeoutError", "Timeout")(timeout.Timeout)
exc_after = support.wrap_deprecated("exc_after", "greenthread.exc_after")(greenthread.exc_after)
call_after_global = support.wrap_deprecated("call_after_global", "greenthread.call_after_global")(
    greenthread.call_after_global
)


class EventletDeprecationWarning(Warning):
    """For those who filter it by name. eventlet gives it on import; greenserve does not."""
