"""``eventlet.queue``: queues whose containers subclasses may choose, by ``_init``, ``_put`` and ``_get``."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from queue import Empty, Full
from typing import Any

from greenlet import getcurrent

from greenserve.core.hub import Hub, get_hub
from greenserve.core.waiters import sleep
from greenserve.sync import queues
from greenserve.sync.semaphores import Slots

__all__ = ["Empty", "Full", "LifoQueue", "LightQueue", "PriorityQueue", "Queue"]


def _not_negative(timeout: float | None) -> float | None:
    """What eventlet makes of a timeout: a negative one has run out already."""
    return timeout if timeout is None or timeout > 0 else 0


class LightQueue(queues.LightQueue[Any]):
    """As `greenserve.LightQueue`.

    Attributes:
        queue: The items.
    """

    queue: Any

    def __init__(self, maxsize: int | None = None) -> None:
        super().__init__(maxsize)

    def _init(self, maxsize: int | None) -> None:
        self.queue = deque()

    def _put(self, item: Any) -> None:
        self.queue.append(item)

    def _get(self) -> Any:
        return self.queue.popleft()

    def _put_bookkeeping(self) -> None:
        """For those that put an item in by themselves: ours counts it anyway."""

    def _make_container(self) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
        self._init(self.maxsize)
        return self._put, self._get

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add ``item``. May switch, while there is no room; in a channel until its getter has run.

        Raises:
            Full: There is no room within ``timeout`` seconds, or now unless ``block``.
        """
        super().put(item, block, _not_negative(timeout))
        if self._maxsize == 0 and block and not self.qsize() and getcurrent() is not get_hub().greenlet:
            sleep(0)  # a getter has it

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item out. May switch, while there is none.

        Raises:
            Empty: There is none within ``timeout`` seconds, or now unless ``block``.
        """
        slots = self._slots
        if not block and slots is not None and self._maxsize == 0 and slots.waiting:
            hub = get_hub()
            if getcurrent() is hub.greenlet:
                return self._take_from_putter(slots, hub)
        return super().get(block, _not_negative(timeout))

    def _take_from_putter(self, slots: Slots, hub: Hub) -> Any:
        """In the hub, where nobody can wait: let the first who waits to put in a channel do so."""
        slots.release()
        handle = hub.ready.pop()
        fire, handle.fire = handle.fire, None
        if fire is not None:
            fire()
        try:
            return super().get(False)
        finally:
            slots.withdraw()  # the room that was made for it

    def resize(self, size: int | None) -> None:
        """Change how many items it holds; None or negative: any number. Items that are too many by then stay."""
        if self._slots is not None or size is None or size < 0:
            super().resize(size)
            return
        self._maxsize = size
        slots = self._slots = Slots(0)
        slots.resize(size - self.qsize())


class Queue(LightQueue, queues.Queue[Any]):
    """As `greenserve.Queue`."""

    def join(self) -> None:  # type: ignore[override]  # eventlet's has no timeout
        """Wait until the work on every item is done. May switch."""
        super().join()


class PriorityQueue(Queue):
    """A `Queue` whose next item is the smallest."""

    def _init(self, maxsize: int | None) -> None:
        self.queue = []

    def _put(self, item: Any, heappush: Callable[[Any, Any], None] = heapq.heappush) -> None:
        heappush(self.queue, item)

    def _get(self, heappop: Callable[[Any], Any] = heapq.heappop) -> Any:
        return heappop(self.queue)


class LifoQueue(Queue):
    """A `Queue` whose next item is the one that was put last."""

    def _init(self, maxsize: int | None) -> None:
        self.queue = []

    def _get(self) -> Any:
        return self.queue.pop()
