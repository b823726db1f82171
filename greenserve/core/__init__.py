"""Scheduling: a hub for each OS thread, green threads, deadlines. Knows fds and greenlets; no sockets, no HTTP."""

from __future__ import annotations

from greenserve.core.greenthreads import GreenletExit, GreenThread, getcurrent, kill, spawn, spawn_after, spawn_n
from greenserve.core.hub import Hub, get_hub, use_hub
from greenserve.core.locals import local
from greenserve.core.timeouts import Timeout, is_timeout, with_timeout
from greenserve.core.waiters import sleep

__all__ = [
    "GreenThread",
    "GreenletExit",
    "Hub",
    "Timeout",
    "get_hub",
    "getcurrent",
    "is_timeout",
    "kill",
    "local",
    "sleep",
    "spawn",
    "spawn_after",
    "spawn_n",
    "use_hub",
    "with_timeout",
]
