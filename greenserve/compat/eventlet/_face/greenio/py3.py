"""``eventlet.greenio.py3``: files over pipes."""

from __future__ import annotations

import os
from typing import Any

from greenserve.green import io

__all__ = ["GreenFileIO", "GreenPipe"]

GreenFileIO = io.PipeIO


def GreenPipe(  # noqa: N802 - its name
    name: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    """Return a file over a pipe, whose reading and writing let others run.

    Args:
        name: An fd, a path, or a file object, which is closed: its place is taken.
    """
    if not isinstance(name, (int, str, bytes, os.PathLike)):
        fd = os.dup(name.fileno())
        name.close()
        name = fd
    return io.open(name, mode, buffering, encoding, errors, newline, closefd, opener)
