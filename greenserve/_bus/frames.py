"""Messages on a stream: a length, and so many bytes. Bytes in, messages out; no sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["MAX_MESSAGE", "FrameReader", "FrameTooLarge", "encode_frame"]

# In bytes. A text of 8 MiB, in JSON, can come to 48.
MAX_MESSAGE = 64 << 20

_LENGTH = struct.Struct("!I")


class FrameTooLarge(ValueError):
    """A message is longer than `MAX_MESSAGE`."""


def encode_frame(message: bytes) -> bytes:
    """Return ``message`` as it goes over the stream.

    Raises:
        FrameTooLarge: It is too long for that.
    """
    if len(message) > MAX_MESSAGE:
        raise FrameTooLarge(f"a message has {MAX_MESSAGE} bytes at most, and this one {len(message)}")
    return _LENGTH.pack(len(message)) + message


class FrameReader:
    """Takes a stream in whatever pieces it comes, and gives the messages in it."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take ``data``, and yield the messages that are whole now. Exhaust it before the next call.

        Raises:
            FrameTooLarge: A message is announced that is. Nothing behind it can be read.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > MAX_MESSAGE:
                    raise FrameTooLarge(f"a message has {MAX_MESSAGE} bytes at most, and {length} are announced")
                end = start + _LENGTH.size + length
                if len(buffer) < end:
                    break
                with memoryview(buffer) as view:
                    message = bytes(view[start + _LENGTH.size : end])
                start = end
                yield message
        finally:
            del buffer[:start]
