"""The standard library's objects as they are before any patch, captured once.

The only place that looks for them: every other module of ours imports the unpatched
object from here, so that it works the same in a patched program. It must therefore be
imported before the patch, which holds because the patch itself is ours.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import time
from _socket import socket as base_socket
from _socket import socketpair as base_socketpair
from _thread import RLock as allocate_rlock
from _thread import _local as thread_local
from _thread import allocate_lock, get_ident, start_new_thread

__all__ = [
    "allocate_lock",
    "allocate_rlock",
    "base_socket",
    "base_socketpair",
    "default_timeout",
    "get_ident",
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "monotonic",
    "os_close",
    "os_pipe",
    "os_read",
    "os_write",
    "poll_type",
    "select",
    "selectors",
    "socket_type",
    "start_new_thread",
    "thread_local",
    "time_sleep",
    "wall_time",
]

monotonic = time.monotonic
wall_time = time.time
time_sleep = time.sleep

os_read = os.read
os_write = os.write
os_close = os.close
os_pipe = os.pipe

poll_type = select.poll

socket_type = socket.socket
# What the standard library's own callers pass for "no timeout given".
default_timeout: object = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # for want of a public name
getaddrinfo = socket.getaddrinfo
gethostbyname = socket.gethostbyname
gethostbyname_ex = socket.gethostbyname_ex
gethostbyaddr = socket.gethostbyaddr
getnameinfo = socket.getnameinfo
