"""What commands of frameworks have in common: they begin inside a program that has long loaded everything."""

from __future__ import annotations

import os
import sys
from typing import Any

from greenserve import monkey
from greenserve.config import load, read_environment

__all__ = ["restart_patched", "server_keywords", "with_patch"]


def restart_patched() -> None:
    """Run this program again from its beginning, patched, in place of this process; return if it is that one already.

    A framework that is loaded has made its locks and thread-locals: only in a program that is patched first are they
    green.
    """
    if not monkey.is_patched("thread"):
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, with_patch(sys.orig_argv, len(sys.argv)))


def with_patch(command: list[str], count: int) -> list[str]:
    """Return ``command``, whose last ``count`` words are a script or module and its arguments, with the patch first."""
    index = len(command) - count
    if command[index - 1] == "-m":
        index -= 1
    return [sys.executable, *command[1:index], "-m", "greenserve.monkey", *command[index:]]


def server_keywords() -> dict[str, Any]:
    """What the environment says of the server's settings, as the command ``greenserve`` reads it."""
    return load(*read_environment(os.environ)).keywords_of("server")
