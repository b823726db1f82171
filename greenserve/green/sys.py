"""What differs in the module ``sys``: a green thread that sets a trace function sets its own, as an OS thread does.

Facts this rests on (greenlet 3; CPython's ``sys.settrace``):

- A trace function belongs to the OS thread, and so to all of its green threads: greenlet lets it go on across a switch.
- Debuggers keep threads of their own, which switch tracing off for themselves, and hand a function on to new threads by
  ``threading.settrace``, in the new thread. Coverage sets one from C, which nobody is told of.
- A trace function is told of every function that is written in Python, and so of ours, as long as it is set.

What this means for us: what the main greenlet sets holds for all that have set none. Once another has set one of its
own, each switch puts the right one in place; until then a switch costs what it did. Whoever calls ``sys.settrace``
calls an object made of C alone, which takes the trace function away before any code of ours runs.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import repeat
from typing import Any
from weakref import WeakKeyDictionary

from greenlet import getcurrent, gettrace, greenlet
from greenlet import settrace as watch_switches

from greenserve._originals import set_trace_function, thread_local

__all__ = ["settrace"]


class _Tracing(thread_local):
    """The trace functions of one OS thread."""

    def __init__(self) -> None:
        self.common: Any = None  # of all green threads that have none of their own
        self.own: WeakKeyDictionary[greenlet, Any] = WeakKeyDictionary()
        self.before: Any = None  # who watched the switches before us
        self.is_watching = False


_tracing = _Tracing()


def _set(before: Any, _: None, function: Any, /) -> None:
    """Note and set a trace function, where ``before`` was the one and none is for the moment."""
    current = getcurrent()
    if current.parent is None:
        _tracing.common = function
    else:
        if not _tracing.is_watching:
            _tracing.common = before
            _tracing.before = gettrace()
            _tracing.is_watching = True
            watch_switches(_on_switch)
        _tracing.own[current] = function
    if function is not None:
        set_trace_function(function)


class _SetTrace(map):  # type: ignore[type-arg]  # what it is a map of shows below
    """``sys.settrace``, for this green thread alone; in the main greenlet for all that set none themselves."""

    __name__ = "settrace"
    __module__ = "sys"
    # To be called it asks itself for its next item, and calls that. No step of it is a function written in Python.
    __call__ = property(next)


# An item is `_set` with the trace function that there was, and with None, which is what taking it away returns.
settrace: Any = _SetTrace(partial, repeat(_set), iter(sys.gettrace, object()), map(set_trace_function, repeat(None)))


def _on_switch(event: str, args: Any) -> None:
    # A debugger stops nowhere in here: what it would trace is off first.
    present = sys.gettrace()
    set_trace_function(None)
    if _tracing.before is not None:
        _tracing.before(event, args)
    origin, target = args
    own, common = _tracing.own, _tracing.common
    if present is not own.get(origin, common):
        # Set from C. A debugger does that for the whole OS thread.
        if origin in own:
            own[origin] = present
        if origin not in own or common is None:
            common = _tracing.common = present
    wanted = own.get(target, common)
    if wanted is not None:
        set_trace_function(wanted)
