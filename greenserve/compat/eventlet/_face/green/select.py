"""``eventlet.green.select``: the module select, cooperative. Its names come from a copy of that."""

from __future__ import annotations

from typing import Any

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["epoll", "poll", "select"]

_copy = monkey.import_patched("select")
slurp_properties(_copy, globals(), srckeys=dir(_copy))


def get_fileno(obj: Any) -> int:
    """The fd of ``obj``: itself, or what its ``fileno()`` says.

    Raises:
        TypeError: It is no number.
    """
    found = obj.fileno() if hasattr(obj, "fileno") else obj
    if not isinstance(found, int):
        raise TypeError(f"Expected int or long, got {type(found)}")
    return found
