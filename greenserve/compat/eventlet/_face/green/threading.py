"""``eventlet.green.threading``: the module threading, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["Lock", "RLock", "get_ident", "local"]

_copy = monkey.import_patched("threading")
slurp_properties(_copy, globals(), srckeys=dir(_copy))
