"""What differs in the module ``queue``: ``SimpleQueue``, whose original waits in C, where it would stop the hub.

The other queues there are Python code over ``threading``'s locks, and become cooperative with those.
"""

from __future__ import annotations

from queue import Empty
from typing import TypeVar

from greenserve.sync.queues import LightQueue

__all__ = ["Empty", "SimpleQueue"]

T = TypeVar("T")


class SimpleQueue(LightQueue[T]):
    """``queue.SimpleQueue``. `put` never blocks, and may be called from finalizers and signal handlers."""

    __slots__ = ()
    __module__ = "_queue"

    def __init__(self) -> None:
        super().__init__(None)

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Take the next item out. May switch.

        Raises:
            Empty: There is none within ``timeout`` seconds, or now unless ``block``.
            ValueError: ``timeout`` is negative.
        """
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        return super().get(block, timeout)
