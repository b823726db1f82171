"""What differs in the module ``threading``: its primitives. Its classes are Python code over them, and stay.

A thread that somebody else started, such as a green thread of `greenserve.spawn`, gets a stand-in when it asks
``threading.current_thread()`` who it is. Before Python 3.13 the standard library keeps a stand-in for good; ours goes
with its thread.
"""

from __future__ import annotations

import threading
import weakref
from functools import partial

from greenlet import getcurrent

from greenserve.green._thread import (
    Lock,
    RLock,
    ThreadHandle,
    get_ident,
    get_main_thread_ident,
    local,
    make_thread_handle,
    set_sentinel,
    shutdown,
    start_joinable_thread,
    start_new_thread,
)

__all__ = [
    "DummyThread",
    "Lock",
    "RLock",
    "ThreadHandle",
    "forget_nothing",
    "get_ident",
    "get_main_thread_ident",
    "local",
    "make_thread_handle",
    "set_sentinel",
    "shutdown",
    "start_joinable_thread",
    "start_new_thread",
]


# By what `threading` knows its threads. At the interpreter's end it outlives the names of its module.
_active: dict[int | None, threading.Thread] = threading._active  # type: ignore[attr-defined]  # for want of a public name


class DummyThread(threading._DummyThread):
    """``threading._DummyThread``, forgotten when its green or native thread has ended.

    A green thread of a class with an attribute ``stand_in``, a subclass of this, gets one of those.
    """

    def __new__(cls) -> DummyThread:
        kind: type[DummyThread] = getattr(getcurrent(), "stand_in", cls)
        return object.__new__(kind)

    def __init__(self) -> None:
        super().__init__()
        self._thread_ref = weakref.ref(getcurrent(), partial(_forget, _active, self.ident))

    def _forget_thread(self) -> None:
        """Its thread has ended, though somebody still has its object."""
        _forget(_active, self.ident, None)


DummyThread.__name__ = "_DummyThread"  # what its repr says


def forget_nothing(dummy: threading.Thread) -> None:
    """What Python 3.13 does about stand-ins in its own way, and ours already do."""


def _forget(active: dict[int | None, threading.Thread], ident: int | None, thread: object) -> None:
    active.pop(ident, None)
