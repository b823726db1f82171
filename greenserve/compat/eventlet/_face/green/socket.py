"""``eventlet.green.socket``: the module socket, cooperative, whose sockets have eventlet's names. A copy."""

from __future__ import annotations

from greenserve import monkey
from greenserve.compat.eventlet._face.greenio import GreenSocket
from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = [
    "create_connection",
    "fromfd",
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "socket",
    "socketpair",
    "timeout",
]

_copy = monkey.import_patched("socket")
# In the copy itself, so that its create_connection() and its like make them.
_copy.socket = _copy.SocketType = GreenSocket  # type: ignore[attr-defined]  # whatever its names are
slurp_properties(_copy, globals(), srckeys=dir(_copy))
