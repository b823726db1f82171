"""What ``threading.current_thread()`` says of a green thread of eventlet's names: something like its `Thread`."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from greenlet import getcurrent

from greenserve.core.timeouts import Timeout
from greenserve.green.threading import DummyThread

__all__ = ["StandIn"]

_numbers = itertools.count(1)


class StandIn(DummyThread):
    """A thread by its looks. It can be named and joined, and goes with its green thread."""

    def __init__(self) -> None:
        super().__init__()
        self.name = f"GreenThread-{next(_numbers)}"
        current: Any = getcurrent()
        self._green = weakref.ref(current)  # `threading` holds this one
        current.link(self._leave)

    def _leave(self, thread: object) -> None:
        self._forget_thread()

    @property
    def _g(self) -> Any:
        return self._green()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        thread = self._g
        return thread is not None and not thread.dead

    def join(self, timeout: float | None = None) -> Any:
        """Wait for its end, and return its result or raise what it has raised. May switch."""
        thread = self._g
        if thread is None:
            return None
        with Timeout(timeout, False):
            return thread.wait()

    # Old names, which the standard library warns of.

    def getName(self) -> str:  # noqa: N802 - its name
        """``name``."""
        return self.name

    def setName(self, name: str) -> None:  # noqa: N802 - its name
        """Set ``name``."""
        self.name = str(name)

    def isDaemon(self) -> bool:  # noqa: N802 - its name
        """True: the program does not wait for it."""
        return True

    get_name, set_name, is_daemon, isAlive = getName, setName, isDaemon, is_alive  # noqa: N815 - its name

    def __repr__(self) -> str:
        return f"<_GreenThread({self.name}, {self._g!r})>"
