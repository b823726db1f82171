"""A WSGI server and networking library on greenlets: blocking code, tens of thousands of connections in one process.

The map, each row resting on those above it:

- ``errors``: every exception; ``settings``: every setting.
- ``http``: HTTP/1.1 as values; no sockets.
- ``core``: the hub, green threads, deadlines.
- ``sync``: events, locks, queues, pools.
- ``net``: green sockets, listeners, the native thread pool.
- ``wsgi``: the server.
- ``websocket``: WebSockets, on the server's side and the client's.
- ``green``: the standard library, cooperative; ``monkey``: the patch that puts it in place.
- ``aio``: asyncio in the same OS thread.
- ``debug``: what blocks, who waits for what, a console inside.
- ``cli``: the command.

Importing this patches nothing.
"""

from __future__ import annotations

import importlib

from greenserve._typing import TYPE_CHECKING, Any
from greenserve._version import __version__
from greenserve.core import (
    GreenletExit,
    GreenThread,
    Timeout,
    get_hub,
    getcurrent,
    is_timeout,
    kill,
    local,
    sleep,
    spawn,
    spawn_after,
    spawn_n,
    use_hub,
    with_timeout,
)
from greenserve.errors import DeadlockError, GreenserveError
from greenserve.net import GreenSocket, StopServe, connect, execute, listen, serve
from greenserve.sync import (
    BoundedSemaphore,
    CappedSemaphore,
    Condition,
    Event,
    GreenPile,
    GreenPool,
    LifoQueue,
    LightQueue,
    Lock,
    PriorityQueue,
    Queue,
    RLock,
    Semaphore,
)

if TYPE_CHECKING:
    from greenserve import aio as aio
    from greenserve import debug as debug
    from greenserve import green as green
    from greenserve import monkey as monkey
    from greenserve import websocket as websocket
    from greenserve import wsgi as wsgi
    from greenserve.net.tls import wrap_ssl as wrap_ssl

__all__ = [
    "BoundedSemaphore",
    "CappedSemaphore",
    "Condition",
    "DeadlockError",
    "Event",
    "GreenPile",
    "GreenPool",
    "GreenSocket",
    "GreenThread",
    "GreenletExit",
    "GreenserveError",
    "LifoQueue",
    "LightQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "RLock",
    "Semaphore",
    "StopServe",
    "Timeout",
    "__version__",
    "aio",
    "connect",
    "debug",
    "execute",
    "get_hub",
    "getcurrent",
    "green",
    "is_timeout",
    "kill",
    "listen",
    "local",
    "monkey",
    "serve",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_n",
    "use_hub",
    "websocket",
    "with_timeout",
    "wrap_ssl",
    "wsgi",
]

# Not everybody who wants a queue wants a server, or OpenSSL: these are imported when they are first asked for.
_SUBMODULES = ("aio", "debug", "green", "monkey", "websocket", "wsgi")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "wrap_ssl":
        return importlib.import_module(f"{__name__}.net.tls").wrap_ssl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
