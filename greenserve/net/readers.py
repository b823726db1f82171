"""A buffered reader over a green socket, leaner than the standard one. Knows no HTTP.

``io.BufferedReader`` keeps a buffer of its full size for each connection for good. Here the socket is read into one
buffer that all connections of an OS thread share, and only what has not been used yet is kept: an idle connection
keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from greenserve._originals import thread_local
from greenserve._typing import Protocol

__all__ = ["ReadableSocket", "SocketReader"]

# Large enough for one recv to take what a socket's receive buffer usually holds.
_SHARED_SIZE = 65536


class _Shared(thread_local):
    """The receive buffer of one OS thread: recv_into releases the GIL, so that two threads can't share one."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_SHARED_SIZE))


_shared = _Shared()


class ReadableSocket(Protocol):
    """What the reader needs of a socket."""

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Wait for bytes and put them into ``buffer``. May switch."""


class SocketReader:
    """The methods of a buffered binary reader, over ``sock.recv_into``.

    Attributes:
        buffer: What was received and not read yet. The server looks for a request's head in it.
    """

    __slots__ = ("_recv_into", "buffer")

    def __init__(self, sock: ReadableSocket, initial: bytes = b"") -> None:
        self._recv_into = sock.recv_into
        self.buffer = initial

    def fill(self) -> int:
        """Receive once, behind what is buffered. Returns how many bytes came; 0 at the end. May switch."""
        # Copied out before anything else can run: after recv_into has returned nobody switches.
        view = _shared.view
        count = self._recv_into(view)
        if self.buffer:
            self.buffer += view[:count]
        else:
            self.buffer = bytes(view[:count])
        return count

    def readinto(self, target: bytearray | memoryview) -> int:
        """Put into ``target`` what is buffered, else what one recv brings. 0 at the end. May switch."""
        if not self.buffer:
            return self._recv_into(target)
        data = self.read1(len(target))
        target[: len(data)] = data
        return len(data)

    readinto1 = readinto

    def read1(self, size: int = -1) -> bytes:
        """Return what is buffered, or what one recv brings, ``size`` bytes at most; ``b""`` at the end. May switch."""
        if size == 0:
            return b""
        buffer = self.buffer
        if not buffer:
            view = _shared.view
            if 0 < size < len(view):
                view = view[:size]
            return bytes(view[: self._recv_into(view)])
        if 0 < size < len(buffer):
            self.buffer = buffer[size:]
            return buffer[:size]
        self.buffer = b""
        return buffer

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the stream; without ``size``, all of it. May switch."""
        if size is None or size < 0:
            size = -1
        part = self.read1(size)
        if len(part) == size or not part:
            return part
        parts, missing = [part], size - len(part)
        try:
            while missing and (part := self.read1(missing if size > 0 else -1)):
                parts.append(part)
                missing -= len(part)
        except BaseException:
            self.buffer = b"".join(parts) + self.buffer  # nothing is lost by a timeout
            raise
        return b"".join(parts)

    def peek(self, size: int = 0) -> bytes:
        """Return what is buffered, without taking it; receives once if there is nothing. May switch."""
        if not self.buffer:
            self.fill()
        return self.buffer

    def readline(self, limit: int | None = -1) -> bytes:
        """Return bytes up to and with the next LF, or ``limit`` bytes, or what is left at the end. May switch."""
        if limit is None or limit < 0:
            limit = -1
        parts: list[bytes] = []
        missing = limit
        try:
            while missing:
                if not self.buffer and not self.fill():
                    break
                end = self.buffer.find(b"\n") + 1
                size = end or len(self.buffer)
                if 0 < missing < size:
                    size, end = missing, 0
                parts.append(self.read1(size))
                if end:
                    break
                if limit > 0:
                    missing -= size
        except BaseException:
            self.buffer = b"".join(parts) + self.buffer  # nothing is lost by a timeout
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint: int | None = None) -> list[bytes]:
        """Return lines up to the end, or until they hold ``hint`` bytes. May switch."""
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint and hint > 0 and total >= hint:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readable(self) -> bool:
        """True: it is a reader."""
        return True

    def close(self) -> None:
        """Forget what is buffered. The socket is its owner's to close."""
        self.buffer = b""
