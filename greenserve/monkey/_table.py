"""What the patch writes where: one row for each name in a module of the standard library. Data alone.

A row holds for the Python versions it names; what differs between versions differs here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from greenserve.green import (
    _loops,
    _thread,
    io,
    multiprocessing,
    os,
    queue,
    select,
    signal,
    socket,
    ssl,
    subprocess,
    threading,
    time,
)
from greenserve.green import sys as green_sys

__all__ = ["BY_CHOICE", "GROUPS", "LOCKS", "ROWS", "Lock", "Row"]

_FIRST = (3, 10)
_LAST = (3, 999)


class Row(NamedTuple):
    """One name to write."""

    group: str  # what patch_all() knows it by
    module: str
    name: str  # with dots: an attribute of an attribute
    green: Any


class Lock(NamedTuple):
    """A lock that the standard library makes when it is imported."""

    module: str
    name: str  # as in a row
    make: Callable[[], Any]  # what takes its place


_rows: list[Row] = []


def _add(
    group: str,
    module: str,
    names: Mapping[str, Any],
    since: tuple[int, int] = _FIRST,
    until: tuple[int, int] = _LAST,
) -> None:
    """Add rows if this is one of the Python versions ``since`` to ``until``."""
    if not since <= sys.version_info[:2] <= until:
        return
    _rows.extend(Row(group, module, name, green) for name, green in names.items())


_add("time", "time", {"sleep": time.sleep})

_add(
    "os",
    "os",
    {
        "fdopen": io.fdopen,
        "read": os.read,
        "readv": os.readv,
        "system": os.system,
        "wait": os.wait,
        "wait3": os.wait3,
        "wait4": os.wait4,
        "waitid": os.waitid,
        "waitpid": os.waitpid,
        "write": os.write,
        "writev": os.writev,
    },
)
# No builtin function becomes a method where a class has it as an attribute, as many have `open`.
_open = staticmethod(io.open)
_add("os", "io", {"open": _open})
_add(
    "os",
    "multiprocessing.connection",
    {"Connection._send.__defaults__": (os.write,), "Connection._recv.__defaults__": (os.read,)},
)

_add("select", "select", {"epoll": select.epoll, "poll": select.poll, "select": select.select})
_add(
    "select",
    "selectors",
    {
        "EpollSelector._selector_cls": select.epoll,
        "PollSelector._selector_cls": select.poll,
        "SelectSelector._select": staticmethod(select.select),
    },
)

_add(
    "signal",
    "signal",
    {
        "getsignal": signal.getsignal,
        "pause": signal.pause,
        "pthread_sigmask": signal.pthread_sigmask,
        "raise_signal": signal.raise_signal,
        "set_wakeup_fd": signal.set_wakeup_fd,
        "signal": signal.signal,
        "sigtimedwait": signal.sigtimedwait,
        "sigwait": signal.sigwait,
        "sigwaitinfo": signal.sigwaitinfo,
    },
)

_add(
    "socket",
    "socket",
    {
        "getaddrinfo": socket.getaddrinfo,
        "gethostbyaddr": socket.gethostbyaddr,
        "gethostbyname": socket.gethostbyname,
        "gethostbyname_ex": socket.gethostbyname_ex,
        "getnameinfo": socket.getnameinfo,
        "socket": socket.socket,
    },
)

_add("ssl", "ssl", {"SSLContext.sslsocket_class": ssl.SSLSocket})

_add("subprocess", "subprocess", {"Popen._wait": subprocess.popen_wait, "io": subprocess.io})

_add(
    "thread",
    "_thread",
    {
        "LockType": _thread.Lock,
        "RLock": _thread.RLock,
        "_count": _thread.count,
        "_local": _thread.local,
        "allocate": _thread.Lock,
        "allocate_lock": _thread.Lock,
        "get_ident": _thread.get_ident,
        "start_new": _thread.start_new_thread,
        "start_new_thread": _thread.start_new_thread,
    },
)
_add("thread", "_thread", {"_set_sentinel": _thread.set_sentinel}, until=(3, 12))
_add(
    "thread",
    "_thread",
    {
        "_ThreadHandle": _thread.ThreadHandle,
        "_get_main_thread_ident": _thread.get_main_thread_ident,
        "_make_thread_handle": _thread.make_thread_handle,
        "_shutdown": _thread.shutdown,
        "lock": _thread.Lock,
        "start_joinable_thread": _thread.start_joinable_thread,
    },
    since=(3, 13),
)
_add(
    "thread",
    "threading",
    {
        "Lock": threading.Lock,
        "_CRLock": threading.RLock,
        "_DummyThread": threading.DummyThread,
        "_allocate_lock": threading.Lock,
        "get_ident": threading.get_ident,
        "local": threading.local,
    },
)
_add(
    "thread",
    "threading",
    {"_set_sentinel": threading.set_sentinel, "_start_new_thread": threading.start_new_thread},
    until=(3, 12),
)
_add(
    "thread",
    "threading",
    {
        "_DeleteDummyThreadOnDel": threading.forget_nothing,
        "_LockType": threading.Lock,
        "_ThreadHandle": threading.ThreadHandle,
        "_get_main_thread_ident": threading.get_main_thread_ident,
        "_make_thread_handle": threading.make_thread_handle,
        "_start_joinable_thread": threading.start_joinable_thread,
        "_thread_shutdown": threading.shutdown,
    },
    since=(3, 13),
)
_add("thread", "asyncio.events", {"BaseDefaultEventLoopPolicy._Local": _loops.PolicyLocal}, until=(3, 13))
_add("thread", "unittest.mock", {"NonCallableMock._lock": _thread.MockLock()})
_add("thread", "sys", {"settrace": green_sys.settrace})
_add("thread", "_multiprocessing", {"SemLock": multiprocessing.SemLock})
# What an empty queue raises stays the same class when the module is imported anew.
_add("thread", "_queue", {"Empty": queue.Empty, "SimpleQueue": queue.SimpleQueue})
_add("thread", "queue", {"SimpleQueue": queue.SimpleQueue})

_add("builtins", "builtins", {"open": _open})

ROWS: tuple[Row, ...] = tuple(_rows)

# The last one is about packages that are not the standard library's: `greenserve.monkey._psycopg` has what it writes.
GROUPS: tuple[str, ...] = (*dict.fromkeys(row.group for row in ROWS), "psycopg")

# Groups that are patched only when they are asked for.
BY_CHOICE = frozenset({"builtins"})

# Those of modules that are loaded later are green from the start. Names that this Python does not have are left out.
LOCKS: tuple[Lock, ...] = (
    Lock("_strptime", "_cache_lock", _thread.Lock),
    Lock("asyncio.events", "_lock", _thread.Lock),
    Lock("asyncio.mixins", "_global_lock", _thread.Lock),
    Lock("concurrent.futures.thread", "_global_shutdown_lock", _thread.Lock),
    Lock("logging", "_defaultLastResort.lock", _thread.RLock),
    Lock("logging", "_lock", _thread.RLock),
    Lock("multiprocessing.context", "_tls", _thread.local),
    Lock("multiprocessing.forkserver", "_forkserver._lock", _thread.Lock),
    Lock("multiprocessing.resource_tracker", "_resource_tracker._lock", _thread.RLock),
    Lock("sysconfig", "_CONFIG_VARS_LOCK", _thread.RLock),
    Lock("tempfile", "_once_lock", _thread.Lock),
    Lock("threading", "_active_limbo_lock", _thread.RLock),
    Lock("threading", "_shutdown_locks_lock", _thread.Lock),
    Lock("webbrowser", "_lock", _thread.RLock),
)
