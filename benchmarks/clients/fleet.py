"""Thousands of keep-alive connections held by one epoll loop. Knows nothing of what is measured with them."""

from __future__ import annotations

import select
import socket
import time

from benchmarks.clients.sockets import abort
from benchmarks.errors import BenchmarkError
from benchmarks.rawhttp import head_and_length

__all__ = ["Fleet"]

# Connections whose first answer is awaited at one time: far below any backlog, so that no connect is ever dropped and
# tried again.
_OPENING_AT_ONCE = 256
_ANSWER_TIMEOUT = 30.0


class Fleet:
    """Connections to one port of 127.0.0.1; each has had one answer when it is counted in."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._unanswered: dict[int, bytes] = {}  # fd: what has come of its answer

    def open(self, count: int, request: bytes) -> None:
        """Open ``count`` more connections, and get an answer to ``request`` on each.

        Raises:
            BenchmarkError: A connection was refused, closed, or not answered with 200 in time.
        """
        for _ in range(count):
            try:
                sock = socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_TIMEOUT)
            except OSError as exc:
                raise BenchmarkError(f"connection {len(self._sockets) + 1} failed: {exc}") from None
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._send(sock, request)
            if len(self._unanswered) >= _OPENING_AT_ONCE:
                self._collect(_OPENING_AT_ONCE // 2)
        self._collect(0)

    def ask_all(self, request: bytes) -> float:
        """Send ``request`` on every connection at once, and return how many seconds passed until the last was answered.

        Raises:
            BenchmarkError: A connection was closed, or not answered with 200 in time.
        """
        start = time.monotonic()
        for sock in self._sockets.values():
            self._send(sock, request)
        self._collect(0)
        return time.monotonic() - start

    def close(self) -> None:
        """Abort all connections, which leaves no port in TIME_WAIT."""
        for sock in self._sockets.values():
            abort(sock)
        self._sockets.clear()
        self._epoll.close()

    def _send(self, sock: socket.socket, request: bytes) -> None:
        try:
            sock.send(request)
        except OSError as exc:
            raise BenchmarkError(f"a kept connection failed: {exc}") from None
        self._unanswered[sock.fileno()] = b""

    def _collect(self, left: int) -> None:
        """Read answers until only ``left`` are missing."""
        deadline = time.monotonic() + _ANSWER_TIMEOUT
        while len(self._unanswered) > left:
            timeout = deadline - time.monotonic()
            if timeout <= 0:
                raise BenchmarkError(f"{len(self._unanswered)} of {len(self._sockets)} connections were not answered")
            for fd, _ in self._epoll.poll(timeout):
                self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            block = self._sockets[fd].recv(65536)
        except OSError as exc:
            raise BenchmarkError(f"a kept connection failed: {exc}") from None
        if not block:
            raise BenchmarkError("the server closed a kept connection")
        data = self._unanswered.get(fd, b"") + block
        found = head_and_length(data)
        if found is None or len(data) < found[1]:
            self._unanswered[fd] = data
        elif b" 200 " in data[:16]:
            del self._unanswered[fd]
        else:
            raise BenchmarkError(f"wrong answer: {data[:200]!r}")
