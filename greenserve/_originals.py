"""The standard library's objects as they are before any patch, captured once.

The only place that looks for them: every other module of ours imports the unpatched
object from here, so that it works the same in a patched program. It must therefore be
imported before the patch, which holds because the patch itself is ours.
"""

from __future__ import annotations

import _thread
import io
import os
import select as _select
import selectors as _selectors
import signal
import socket
import sys
import time
from _socket import socket as base_socket
from _socket import socketpair as base_socketpair
from _thread import RLock as allocate_rlock  # noqa: N813 - it is called like the function beside it
from _thread import _local as thread_local
from _thread import allocate_lock, get_ident, start_new_thread
from types import ModuleType

from greenserve._typing import Any

__all__ = [
    "allocate_lock",
    "allocate_rlock",
    "base_socket",
    "base_socketpair",
    "default_timeout",
    "end_native_threads",
    "get_ident",
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "io_open",
    "monotonic",
    "os_close",
    "os_pipe",
    "os_read",
    "os_readv",
    "os_system",
    "os_wait3",
    "os_wait4",
    "os_waitid",
    "os_waitpid",
    "os_write",
    "os_writev",
    "poll_type",
    "pthread_sigmask",
    "raise_signal",
    "select",
    "selectors",
    "set_signal_handler",
    "set_trace_function",
    "set_wakeup_fd",
    "signal_handler",
    "signal_pause",
    "signal_sigtimedwait",
    "signal_sigwaitinfo",
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
os_readv = os.readv
os_writev = os.writev
os_waitpid = os.waitpid
os_wait3 = os.wait3
os_wait4 = os.wait4
os_waitid: Any = getattr(os, "waitid", None)  # not on macOS before Python 3.13
os_system = os.system

io_open = io.open

set_trace_function = sys.settrace

set_signal_handler = signal.signal
signal_handler = signal.getsignal
signal_pause = signal.pause
raise_signal = signal.raise_signal
pthread_sigmask = signal.pthread_sigmask
set_wakeup_fd = signal.set_wakeup_fd
# Not on macOS.
signal_sigtimedwait: Any = getattr(signal, "sigtimedwait", None)
signal_sigwaitinfo: Any = getattr(signal, "sigwaitinfo", None)

# Python 3.13's: joins the native threads that are no daemons.
end_native_threads = getattr(_thread, "_shutdown", None)

poll_type = _select.poll

socket_type = socket.socket
# What the standard library's own callers pass for "no timeout given".
default_timeout: object = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # for want of a public name
getaddrinfo = socket.getaddrinfo
gethostbyname = socket.gethostbyname
gethostbyname_ex = socket.gethostbyname_ex
gethostbyaddr = socket.gethostbyaddr
getnameinfo = socket.getnameinfo


def _copy(module: ModuleType) -> Any:
    """Return a module with the same contents, which a later patch of ``module`` does not reach."""
    copy = ModuleType(module.__name__)
    vars(copy).update(vars(module))
    return copy


# What a class of the module selectors keeps to wait by, where a patch may write.
_WAITS_BY = {
    "EpollSelector": "_selector_cls",
    "PollSelector": "_selector_cls",
    "SelectSelector": "_select",
}


def _copy_selectors() -> Any:
    """As `_copy`, with classes that keep what they wait by now."""
    copy = _copy(_selectors)
    for name, attribute in _WAITS_BY.items():
        base = getattr(_selectors, name, None)
        if base is not None and attribute in vars(base):
            setattr(copy, name, type(name, (base,), {attribute: vars(base)[attribute]}))
    return copy


# The system's own readiness calls, and the selectors that rest on them.
select = _copy(_select)
selectors = _copy_selectors()
