"""``eventlet.green.builtin``: the module builtins, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["open"]

_copy = monkey.import_patched("builtins")
slurp_properties(_copy, globals(), srckeys=dir(_copy))
