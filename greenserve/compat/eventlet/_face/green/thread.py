"""``eventlet.green.thread``: the module _thread, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = [
    "LockType",
    "RLock",
    "_count",
    "_local",
    "allocate",
    "allocate_lock",
    "get_ident",
    "start_new",
    "start_new_thread",
]

_copy = monkey.import_patched("_thread")
slurp_properties(_copy, globals(), srckeys=dir(_copy))

Lock = _copy.allocate_lock  # 3.12 and before have it only in threading
