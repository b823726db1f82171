"""Where a call of the standard library waits: in a hub, or in the operating system. Knows hubs and fds; no modules.

Whoever runs in the hub's own greenlet (a callback, a finalizer that the collector runs there) can't park, and an OS
thread that never had a green thread needs no hub in order to wait: both block as they would unpatched.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenlet import getcurrent

from greenserve._originals import monotonic
from greenserve.core.hub import Hub, get_hub, in_main_thread, thread_state
from greenserve.core.poller import READ, WRITE
from greenserve.core.timers import Handle
from greenserve.core.waiters import sleep

__all__ = ["find_hub", "give_way", "park_on"]

# After so long without a turn for the others a call that need not wait gives them one, in seconds.
_TURN_SECONDS = 0.005


def find_hub() -> Hub | None:
    """Return the hub in which the caller can park, or None where its OS thread itself has to wait."""
    try:
        hub: Hub = thread_state.hub
    except AttributeError:
        if in_main_thread() or getcurrent().parent is not None:
            return get_hub()
        return None
    return None if hub.closed or getcurrent() is hub.greenlet else hub


def give_way(hub: Hub) -> None:
    """Let others run if they have waited for long: what is always ready must not starve them. May switch."""
    if monotonic() - hub.now > _TURN_SECONDS:
        sleep(0)


def park_on(hub: Hub, readers: Iterable[int], writers: Iterable[int], timeout: float | None) -> bool:
    """Park until one of the fds may be ready. False when ``timeout`` seconds went by first. May switch.

    Raises:
        OSError: One of them is no open fd, or can't be watched; ClosedWhileWaiting, it was closed meanwhile.
    """
    handle = Handle(getcurrent().switch)
    queues: list[list[Handle]] = []
    timer = None if timeout is None else Handle(handle.fire)
    try:
        for fds, direction in ((readers, READ), (writers, WRITE)):
            for fd in fds:
                source = hub.poller.source(fd)
                queue = source.readers if direction == READ else source.writers
                queue.append(handle)
                queues.append(queue)
                hub.poller.want(source, direction)
        if timer is not None and timeout is not None:
            hub.timers.add(monotonic() + timeout, timer)
        # What else resumes this green thread meant another wait, such as that of a finalizer that came between.
        while handle.fire is not None:
            if timer is not None and timer.fire is None:
                return False
            hub.switch()
    finally:
        handle.fire = None
        if timer is not None:
            hub.timers.cancel(timer)
        for queue in queues:
            if handle in queue:
                queue.remove(handle)
    return True
