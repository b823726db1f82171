"""``eventlet.green.Queue``: the module queue, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face import queue
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["LifoQueue", "PriorityQueue", "Queue", "SimpleQueue"]

_copy = monkey.import_patched("queue")
slurp_properties(_copy, globals(), srckeys=dir(_copy))

Queue, LifoQueue, PriorityQueue = queue.Queue, queue.LifoQueue, queue.PriorityQueue
