"""``eventlet.green.selectors``: the module selectors, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector"]

_copy = monkey.import_patched("selectors")
slurp_properties(_copy, globals(), srckeys=dir(_copy))
