"""What differs in the module ``io``: files over pipes, terminals and sockets wait in the hub.

Regular files are the standard library's own: the system never says that they would block.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from select import POLLIN
from typing import TYPE_CHECKING, Any

from greenserve import _originals
from greenserve.core.hub import get_hub, has_hub
from greenserve.green.os import wait_ready, write
from greenserve.net.threads import execute

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["PipeIO", "fdopen", "open"]

# The default buffer, in bytes: what a pipe holds, so that a full one takes one wait.
_BUFFER_SIZE = 65536
_BLOCK = 1 << 18


class PipeIO(io.FileIO):
    """``io.FileIO`` over what is no regular file. Its reading and writing park the green thread."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        """Put what there is into ``buffer``. 0 at the end; None if the fd is non-blocking and empty. May switch."""
        if not self.closed:
            wait_ready(self.fileno(), POLLIN)
        return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes | None:  # type: ignore[override]  # typeshed forgets None
        """Return up to ``size`` bytes, all up to the end for -1. May switch."""
        if size is None or size < 0:
            return self.readall()
        if not self.closed:
            wait_ready(self.fileno(), POLLIN)
        return super().read(size)

    def readall(self) -> bytes | None:  # type: ignore[override]  # typeshed forgets None
        """Return all bytes up to the end. May switch."""
        blocks = []
        while block := self.read(_BLOCK):
            blocks.append(block)
        return None if block is None and not blocks else b"".join(blocks)

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]  # typeshed forgets None
        """Write all of ``data``; None if the fd is non-blocking and takes nothing. May switch."""
        if self.closed or not self.writable():
            return super().write(data)
        try:
            return write(self.fileno(), data)
        except BlockingIOError:
            return None

    def close(self) -> None:
        """Close it. Whoever waits on it gets `ClosedWhileWaiting`."""
        if not self.closed and self.closefd and has_hub():
            hub = get_hub()
            source = hub.poller.sources.get(self.fileno())
            if source is not None:
                hub.close_source(source)
        super().close()


def open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Callable[[str, int], int] | None = None,
) -> Any:
    """``io.open``. What is no regular file is opened in a native thread, and waits in the hub. May switch."""
    if not _is_waitable(file):
        return _originals.io_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = PipeIO(file, mode.replace("b", "").replace("t", ""), closefd, opener or _open_in_thread)
    try:
        # The checks, and the layers above the raw file, are the original's; then the raw file is replaced.
        opened: Any = _originals.io_open(raw.fileno(), mode, buffering, encoding, errors, newline, False)
        if buffering == 0:
            return raw
        buffer = opened if "b" in mode else opened.buffer
        buffer.__init__(raw, buffering if buffering > 1 else _BUFFER_SIZE)
    except BaseException:
        raw.close()
        raise
    return opened


open.__module__ = "io"  # as the original says


def _is_waitable(file: Any) -> bool:
    try:
        mode = os.stat(file).st_mode
    except (OSError, TypeError, ValueError):
        return False  # the original says what is wrong, or makes the file
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


def _open_in_thread(path: str, flags: int) -> int:
    # Opening one end of a FIFO waits for the other.
    return execute(os.open, path, flags | os.O_CLOEXEC)


def fdopen(
    fd: int, mode: str = "r", buffering: int = -1, encoding: str | None = None, *args: Any, **kwargs: Any
) -> Any:
    """``os.fdopen``. The file may switch when it is used."""
    if not isinstance(fd, int):
        raise TypeError(f"invalid fd type ({type(fd).__name__}, expected integer)")
    return open(fd, mode, buffering, encoding, *args, **kwargs)
