"""``wsgi.file_wrapper``: a file as an answer's body. Knows no connection; the system sends it where that is possible.

Source: PEP 3333, "Optional Platform-Specific File Handling".
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Protocol

__all__ = ["FileWrapper", "ReadableFile"]


class ReadableFile(Protocol):
    """What an app hands to ``wsgi.file_wrapper``."""

    def read(self, size: int = ..., /) -> bytes:
        """Return up to ``size`` bytes; ``b""`` at the end."""


class FileWrapper:
    """Blocks of ``block_size`` bytes of a file-like object, from where it stands to its end."""

    def __init__(self, file: ReadableFile, block_size: int = 65536) -> None:
        self.file = file
        self.block_size = block_size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block = self.file.read(self.block_size)
        if not block:
            raise StopIteration
        return block

    def close(self) -> None:
        """Close the file, if it can be closed."""
        close = getattr(self.file, "close", None)
        if close is not None:
            close()

    def system_file(self) -> tuple[int, int] | None:
        """(offset, bytes to the end) if it is a regular file that the system can send by itself, else None."""
        file = self.file
        # Only where fileno and the bytes that read() gives are the same thing: not a GzipFile, not a text file.
        if not isinstance(file, (io.BufferedReader, io.BufferedRandom, io.FileIO)):
            return None
        try:
            info = os.fstat(file.fileno())
            offset = file.tell()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        return offset, max(0, info.st_size - offset)
