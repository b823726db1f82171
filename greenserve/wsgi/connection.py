"""One connection as bytes: waits under a deadline, sends, and ends. Knows nothing of HTTP, nor of how it was accepted.

Whatever waits for the peer does so under ``deadline``, which the server's sweep looks at: a timer for each wait would
cost more than the wait.
"""

from __future__ import annotations

import enum
import errno
import logging
from collections.abc import Callable
from socket import SHUT_RDWR
from typing import TYPE_CHECKING, Any, TypeVar

from greenserve._originals import monotonic
from greenserve.core.waiters import sleep
from greenserve.errors import BodyError, GreenserveError, RequestTimeout
from greenserve.net.readers import SocketReader
from greenserve.net.sockets import GreenSocket
from greenserve.wsgi.progress import bytes_not_taken

if TYPE_CHECKING:
    from greenserve.wsgi.server import Server

__all__ = ["NEVER", "BodySource", "ClientGone", "Connection", "Expired", "Phase"]

A = TypeVar("A")
R = TypeVar("R")

log = logging.getLogger("greenserve.wsgi")

NEVER = float("inf")

# So many small reads of a body, of tiny chunks say, find what they need without a wait before the others have theirs.
_READ_BUDGET = 256

# A refused client may still be sending. While it does, it gets as long as for a head to stop and read the answer, and
# this long once it pauses: a close with bytes unread makes the system throw the answer away (RFC 9112 section 9.6).
_LINGER_SECONDS = 2.0

# What goes wrong with a file, and not with the connection that it is sent to.
_BAD_FILE = frozenset({errno.EIO, errno.ESTALE})

_PIECE = 65536  # bytes sent before the write deadline is set anew


class Phase(enum.Enum):
    """What a connection is at."""

    IDLE = enum.auto()  # between two requests
    HEAD = enum.auto()  # some bytes of a head have come
    RUNNING = enum.auto()  # the app runs, or its answer is on its way
    CLOSING = enum.auto()  # no more requests are read
    TAKEN = enum.auto()  # the app has taken the socket over


_TAKEN = Phase.TAKEN


class Expired(GreenserveError):
    """Raised where a connection waits for its peer, when its deadline is over or the server stops."""


class ClientGone(GreenserveError, ConnectionError):
    """The client has left, or takes nothing any more: nothing more can be sent."""


class StalledBody(BodyError):
    """The request's body did not go on within ``body_timeout``."""

    status = RequestTimeout.status


class Connection:
    """A peer and what it is at.

    Attributes:
        conn: The socket.
        rfile: What comes from it.
        address: The peer's, or what a proxy says that it is.
        deadline: When to give up what it waits for, in monotonic seconds; infinity while it waits for no peer.
        phase: What it is at.
        idle_since: When the last answer left, or the connection was accepted, in monotonic seconds.
    """

    __slots__ = ("_not_taken", "address", "conn", "deadline", "idle_since", "phase", "rfile", "server")

    def __init__(self, conn: GreenSocket, address: Any, server: Server, initial: bytes = b"") -> None:
        self.use(conn)
        self.address = address
        self.server = server
        self.rfile.buffer = initial
        self.phase = Phase.IDLE
        self.deadline = NEVER
        self.idle_since = monotonic()
        self._not_taken = 0  # bytes of answers that the client had not taken when `note_progress` last looked

    def use(self, conn: GreenSocket) -> None:
        """Speak over ``conn`` from now on. Nothing may have been read ahead from the socket so far."""
        self.conn = conn
        self.rfile: SocketReader = conn.makefile("rb", reader=SocketReader)

    # Sending ----------------------------------------------------------------------------------------------------

    def send(self, data: bytes, now: float) -> None:
        """Send all of ``data``. ``now`` is the monotonic time. May switch.

        Raises:
            ClientGone: The client has left, or took nothing for ``write_timeout``.
        """
        if self.phase is _TAKEN:
            raise ClientGone("the connection was taken over by the app")
        self.deadline = now + self.server.write_timeout
        try:
            if len(data) <= _PIECE:
                self.conn.send(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), _PIECE):
                    self.deadline = monotonic() + self.server.write_timeout
                    self.conn.send(view[start : start + _PIECE])
        except OSError as exc:
            raise ClientGone(str(exc)) from exc
        except Expired as exc:
            raise ClientGone(f"the client took nothing for {self.server.write_timeout} s") from exc
        except BaseException:
            # A Timeout of the app's. Nobody knows how much was sent, so nothing can follow it.
            self.abort()
            raise
        self.deadline = NEVER

    def send_parts(self, head: bytes, body: bytes, now: float) -> None:
        """Send ``head`` and ``body``, in one piece unless copying costs more than another system call. May switch."""
        if len(body) <= _PIECE:
            self.send(head + body, now)
        else:
            self.send(head, now)
            self.send(body, now)

    def send_from_file(self, file: Any, offset: int, count: int) -> int:
        """Let the system send ``count`` bytes of a regular file, and return how many there were. May switch."""
        sent = 0
        timeout = self.server.write_timeout
        self.deadline = monotonic() + timeout
        try:
            for part in self.conn.send_file_parts(file, offset, count):
                sent += part
                self.deadline = monotonic() + timeout
        except OSError as exc:
            if exc.errno in _BAD_FILE:
                raise
            raise ClientGone(str(exc)) from exc
        except Expired as exc:
            raise ClientGone(f"the client took nothing for {timeout} s") from exc
        except BaseException:
            self.abort()
            raise
        self.deadline = NEVER
        return sent

    def expire(self) -> None:
        """End what the connection waits for: its deadline is over. Not from its own green thread."""
        self.conn.interrupt(Expired("deadline"))

    def note_progress(self, now: float) -> None:
        """Give a client that takes its answer slowly more time, while it takes some. Now and then, as it runs."""
        count = bytes_not_taken(self.conn.fileno())
        if count < self._not_taken:
            self.deadline = max(self.deadline, now + self.server.write_timeout)
        self._not_taken = count

    # Ending -----------------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Let the app see the end of the connection, and end by itself what it does. Not from its green thread."""
        try:
            self.conn.shutdown(SHUT_RDWR)
        except OSError as exc:
            log.debug("connection from %s ended: %s", self.address, exc)

    def abort(self) -> None:
        """End the connection so that the client can't take what it got for the whole answer."""
        self.phase = Phase.CLOSING
        self.conn.abort()

    def linger(self) -> None:
        """Stop sending, and let a client that is still sending stop and read the answer. May switch."""
        self.phase = Phase.CLOSING
        rfile = self.rfile
        rfile.buffer = b""
        server = self.server
        started = now = monotonic()
        try:
            self.conn.shutdown_write()
            while now < (end := started + (_LINGER_SECONDS if server.stopping else server.head_timeout)):
                self.deadline = min(now + _LINGER_SECONDS, end)
                if not rfile.read1():
                    break
                now = monotonic()
        except (OSError, Expired) as exc:
            log.debug("connection from %s ended: %s", self.address, exc)


class BodySource:
    """The bytes of a connection under its body deadline. Once that was over it stays over."""

    __slots__ = ("_connection", "_reads", "_stalled")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._reads = 0  # since the others last had their turn
        self._stalled = False

    def read1(self, size: int) -> bytes:
        return self._read(self._connection.rfile.read1, size)

    def readinto(self, target: memoryview) -> int:
        return self._read(self._connection.rfile.readinto, target)

    def readline(self, limit: int) -> bytes:
        return self._read(self._connection.rfile.readline, limit)

    def _read(self, read: Callable[[A], R], argument: A) -> R:
        connection = self._connection
        if self._stalled:
            raise StalledBody("the request's body did not go on in time")
        self._reads += 1
        if self._reads >= _READ_BUDGET:
            self._reads = 0
            sleep(0)
        connection.deadline = monotonic() + connection.server.body_timeout
        try:
            return read(argument)
        except Expired:
            self._stalled = True
            raise StalledBody("the request's body did not go on in time") from None
        except OSError as exc:
            raise BodyError(f"the client left in the middle of its request's body: {exc}") from exc
        finally:
            connection.deadline = NEVER
