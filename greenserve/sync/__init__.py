"""Events, locks, semaphores, queues and pools for green threads, safe between OS threads. Knows no fds and no hub."""

from __future__ import annotations

from greenserve.sync.events import Event
from greenserve.sync.locks import Condition, Lock, RLock
from greenserve.sync.pools import GreenPile, GreenPool
from greenserve.sync.queues import Empty, Full, LifoQueue, LightQueue, PriorityQueue, Queue
from greenserve.sync.resources import Pool, TokenPool
from greenserve.sync.semaphores import BoundedSemaphore, CappedSemaphore, Semaphore

__all__ = [
    "BoundedSemaphore",
    "CappedSemaphore",
    "Condition",
    "Empty",
    "Event",
    "Full",
    "GreenPile",
    "GreenPool",
    "LifoQueue",
    "LightQueue",
    "Lock",
    "Pool",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Semaphore",
    "TokenPool",
]
