"""Sockets, listeners, name lookups and native threads for green threads. Knows no TLS, which is a module of its own."""

from __future__ import annotations

from greenserve.net.listeners import StopServe, connect, connections_of, create_connection, listen, serve
from greenserve.net.resolver import cache_names
from greenserve.net.sockets import GreenSocket, fromfd, socketpair
from greenserve.net.threads import Proxy, execute, killall, set_num_threads

__all__ = [
    "GreenSocket",
    "Proxy",
    "StopServe",
    "cache_names",
    "connect",
    "connections_of",
    "create_connection",
    "execute",
    "fromfd",
    "killall",
    "listen",
    "serve",
    "set_num_threads",
    "socketpair",
]
