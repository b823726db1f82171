"""What differs in the module ``socket``: the class, and what looks names up.

Everything else there (``create_connection``, ``socketpair``, ``fromfd`` …) is Python code over these names, and those
three are here for whoever does not patch.
"""

from __future__ import annotations

from greenserve.net.listeners import create_connection
from greenserve.net.resolver import getaddrinfo as _getaddrinfo
from greenserve.net.resolver import gethostbyaddr, gethostbyname, gethostbyname_ex, getnameinfo
from greenserve.net.sockets import GreenSocket, fromfd, socketpair

__all__ = [
    "create_connection",
    "fromfd",
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "socket",
    "socketpair",
]

socket = GreenSocket
getaddrinfo = _getaddrinfo
