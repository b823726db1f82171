"""``eventlet.debug``: looking at the hub, and letting it tell more. `greenserve.debug` sees more still."""

from __future__ import annotations

import asyncio
import linecache
import os
import re
import sys
import threading
from collections.abc import Container
from types import FrameType
from typing import Any

from greenserve.compat.eventlet._face import greenpool, hubs, tpool
from greenserve.compat.eventlet._face.hubs import hub, timer

__all__ = [
    "Spew",
    "format_asyncio_info",
    "format_hub_listeners",
    "format_hub_timers",
    "format_threads_info",
    "hub_blocking_detection",
    "hub_exceptions",
    "hub_listener_stacks",
    "hub_prevent_multiple_readers",
    "hub_timer_stacks",
    "spew",
    "tpool_exceptions",
    "unspew",
]

_WORDS = re.compile(r"\W+")


class Spew:
    """A trace function (``sys.settrace``) that prints each line as it runs, with the values of its names."""

    def __init__(self, trace_names: Container[str] | None = None, show_values: bool = True) -> None:
        self.trace_names = trace_names
        self.show_values = show_values

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Spew:
        if event == "line":
            name, line = _line_of(frame)
            if self.trace_names is None or name in self.trace_names:
                self._print(f"{name}:{frame.f_lineno}: {line.rstrip()}")
                if self.show_values:
                    self._print_values(frame, line)
        return self

    def _print_values(self, frame: FrameType, line: str) -> None:
        values = []
        for word in _WORDS.split(line):
            scopes = (frame.f_globals, frame.f_locals)
            values += [f"{word}={names[word]!r}" for names in scopes if word in names]
        if values:
            self._print("\t" + " ".join(values))

    def _print(self, text: str) -> None:
        sys.stdout.write(text + "\n")


def _line_of(frame: FrameType) -> tuple[str, str]:
    filename = frame.f_globals.get("__file__")
    if filename is None:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        unknown = f"Unknown code named [{frame.f_code.co_name}].  VM instruction #{frame.f_lasti}"
        return "[unknown]", line or unknown
    return frame.f_globals["__name__"], linecache.getline(filename, frame.f_lineno)


def spew(trace_names: Container[str] | None = None, show_values: bool = False) -> None:
    """Print each line that runs, of the modules ``trace_names`` or all."""
    sys.settrace(Spew(trace_names, show_values))


def unspew() -> None:
    """Undo `spew`."""
    sys.settrace(None)


def format_hub_listeners() -> str:
    """Who waits on which fd."""
    here = hubs.get_hub()
    lines = ["READERS:", *map(repr, here.get_readers()), "WRITERS:", *map(repr, here.get_writers())]
    return os.linesep.join(lines)


def format_hub_timers() -> str:
    """What is scheduled."""
    return os.linesep.join(["TIMERS:", *map(repr, hubs.get_hub().timers)])


def format_asyncio_info() -> str:
    """The tasks of the asyncio loop that runs here.

    Raises:
        RuntimeError: None does.
    """
    loop = asyncio.get_running_loop()
    return os.linesep.join(["TASKS:", repr(asyncio.all_tasks(loop)), f"EVENTLOOP: {loop}"])


def format_threads_info() -> str:
    """The threads that ``threading`` knows."""
    return os.linesep.join(["THREADS:", repr({thread.ident: thread for thread in threading.enumerate()})])


def hub_listener_stacks(state: bool = False) -> None:
    """Whether `format_hub_listeners` shows where each listener was made."""
    hubs.get_hub().set_debug_listeners(state)


def hub_timer_stacks(state: bool = False) -> None:
    """Whether `format_hub_timers` shows where each timer was made."""
    timer._g_debug = state


def hub_prevent_multiple_readers(state: bool = True) -> None:
    """Whether two may not wait by `hubs.trampoline` for the same of one fd."""
    hub.g_prevent_multiple_readers = state


def hub_exceptions(state: bool = True) -> None:
    """Whether what green threads raise is printed."""
    hubs.get_hub().set_timer_exceptions(state)
    greenpool.DEBUG = state


def tpool_exceptions(state: bool = False) -> None:
    """Whether what calls in native threads raise is printed, beside being raised."""
    tpool.QUIET = not state


def hub_blocking_detection(state: bool = False, resolution: float = 1) -> None:
    """Whether RuntimeError is raised, by SIGALRM, in whatever keeps the hub from running for ``resolution`` seconds."""
    assert resolution > 0
    here = hubs.get_hub()
    here.block_detect_post()
    here.debug_blocking = state
    here.debug_blocking_resolution = resolution
    if state:
        here.block_detect_pre()
