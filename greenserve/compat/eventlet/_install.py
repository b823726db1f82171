"""Registering greenserve under eventlet's names. Changes the import system, and nothing else."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from greenserve.compat.eventlet._names import FACE, Finder, register
from greenserve.errors import GreenserveError

__all__ = ["INHERIT", "InstalledTooLate", "inherit", "install", "is_installed"]

# While this is set to something, Python processes with the directory of `inherit` in PYTHONPATH install by themselves.
INHERIT = "GREENSERVE_AS_EVENTLET"

_DIRECTORY = str(Path(__file__).parent / "_inherit")


class InstalledTooLate(GreenserveError, ImportError):
    """eventlet itself has been imported: two hubs in one thread would wait for each other."""


def install() -> None:
    """Let ``import eventlet``, and every module below it, find greenserve. Idempotent.

    Call it before anything imports eventlet; other imports may come before or after. An eventlet that is installed is
    hidden, not changed. It patches nothing: the program calls ``eventlet.monkey_patch()``, as ever.

    Raises:
        InstalledTooLate: eventlet itself was imported already. The message names its file.
    """
    if is_installed():
        return
    there = sys.modules.get("eventlet")
    if there is not None:
        raise InstalledTooLate(
            f"eventlet itself is imported already, from {getattr(there, '__file__', 'nowhere')}: call "
            "greenserve.compat.eventlet.install() before anything imports it, or run the program by "
            "`python -m greenserve.compat.eventlet SCRIPT`"
        )
    importlib.import_module(FACE)
    register(Finder())


def is_installed() -> bool:
    """Whether eventlet's names are greenserve's."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)


def inherit() -> None:
    """Let the Python processes that this one starts install too: by the environment, which they inherit."""
    os.environ[INHERIT] = "1"
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _DIRECTORY not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([_DIRECTORY, *filter(None, paths)])
