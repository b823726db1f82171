"""``eventlet.greenio``: green sockets and pipes by eventlet's names."""

from __future__ import annotations

from greenserve.compat.eventlet._face.greenio.base import (
    _GLOBAL_DEFAULT_TIMEOUT,
    CONNECT_ERR,
    CONNECT_SUCCESS,
    SOCKET_BLOCKING,
    SOCKET_CLOSED,
    SSL,
    GreenSocket,
    set_nonblocking,
    shutdown_safe,
    socket_timeout,
)
from greenserve.compat.eventlet._face.greenio.py3 import GreenFileIO, GreenPipe

__all__ = [
    "CONNECT_ERR",
    "CONNECT_SUCCESS",
    "SOCKET_BLOCKING",
    "SOCKET_CLOSED",
    "SSL",
    "_GLOBAL_DEFAULT_TIMEOUT",
    "GreenFileIO",
    "GreenPipe",
    "GreenSocket",
    "set_nonblocking",
    "shutdown_safe",
    "socket_timeout",
]
