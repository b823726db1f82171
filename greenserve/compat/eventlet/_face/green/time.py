"""``eventlet.green.time``: the module time, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face import greenthread
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["sleep"]

_copy = monkey.import_patched("time")
slurp_properties(_copy, globals(), srckeys=dir(_copy))

sleep = greenthread.sleep
