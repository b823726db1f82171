"""A new master beside this one: the binary upgrade (USR2). It gets the listening sockets, and its own workers.

While both run each has workers that accept. The operator ends the old one (TERM or QUIT) or, to go back, the new one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import NoReturn

from greenserve._bus.place import new_folder
from greenserve.supervisor.listeners import HANDED_ON
from greenserve.supervisor.surroundings import logical_directory

__all__ = ["Start"]

# The variable that tells a new master who started it.
_OLD_MASTER = "GREENSERVE_OLD_MASTER"

# The variable that tells it where the workers of both have their message bus.
_BUS = "GREENSERVE_BUS"

# The variable that tells it by which fd the figures can be had that have been counted so far.
_FIGURES = "GREENSERVE_FIGURES"

# What the service manager left for one process alone.
_FOR_ONE_PROCESS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")


class Start:
    """How this process was started, so that it can be done once more.

    Attributes:
        old_master: The process of the master before us that started this one, or None.
        bus: The folder for the workers' message bus: that of the old master, if there is one.
        figures: The fd of its figures, which is ours to close, or None.
    """

    __slots__ = ("_directory", "_environ", "bus", "figures", "old_master")

    def __init__(self) -> None:
        """Look at the process as it is: call this before anything changes directory or environment."""
        pid, fd = os.environ.pop(_OLD_MASTER, ""), os.environ.pop(_FIGURES, "")
        self.old_master = int(pid) if pid and int(pid) == os.getppid() else None
        self.figures = int(fd) if fd else None  # also when that master has gone meanwhile
        bus = os.environ.pop(_BUS, "")
        self.bus = bus if bus and self.old_master is not None else new_folder()
        self._directory = logical_directory()
        self._environ = {
            name: value for name, value in os.environ.items() if name not in _FOR_ONE_PROCESS and name != HANDED_ON
        }

    def lives_with_old_master(self) -> bool:
        """Whether the master that started this one still runs. Its end makes us somebody else's child."""
        return self.old_master is not None and os.getppid() == self.old_master

    def execute(self, sockets: Iterable[tuple[str, int]], figures: int | None) -> NoReturn:
        """Become a new master, in a process that was forked for that.

        Args:
            sockets: What it gets: what bind said, and the fd.
            figures: The fd of what has been counted, if anything has.

        Raises:
            OSError: As the system says.
        """
        sockets = list(sockets)
        for fd in [*(fd for _, fd in sockets), *([] if figures is None else [figures])]:
            os.set_inheritable(fd, True)
        os.chdir(self._directory)
        told = {_OLD_MASTER: str(os.getppid()), _BUS: self.bus, HANDED_ON: json.dumps(sockets)}
        environ = {**self._environ, **told}
        if figures is not None:
            environ[_FIGURES] = str(figures)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
