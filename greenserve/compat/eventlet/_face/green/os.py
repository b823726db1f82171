"""``eventlet.green.os``: the module os, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["fdopen", "open", "read", "wait", "waitpid", "write"]

_copy = monkey.import_patched("os")
slurp_properties(_copy, globals(), srckeys=dir(_copy))
