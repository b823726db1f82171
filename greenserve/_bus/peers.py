"""What is on its way to one member of a bus. Knows frames as bytes.

Each member has a queue of its own and, while that is not empty, a green thread that empties it, or a sender that
waits for that. So a member that takes nothing, since it was stopped or computes, holds up nobody else. How much a
queue holds is bounded: a sender waits while its member is merely slower, and for one that takes nothing at all what
goes beyond the bound is dropped, counted, and told of in the log.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from socket import MSG_DONTWAIT

from greenserve._bus.frames import MAX_MESSAGE
from greenserve._bus.members import Members, process_of
from greenserve._originals import base_socket, monotonic
from greenserve._words import counted
from greenserve.core.greenthreads import spawn_n
from greenserve.core.waiters import WaitQueue
from greenserve.net.sockets import GreenSocket

__all__ = ["MAX_QUEUED", "Peer"]

log = logging.getLogger("greenserve.bus")

# Senders wait from so many bytes on, and nothing is added from so many on: two of the largest messages.
_SLOW_DOWN = 8 << 20
MAX_QUEUED = 2 * MAX_MESSAGE

# Who has taken nothing for so long, in seconds, is not waited for.
_PATIENCE = 0.1

# How often dropped messages are told of, in seconds.
_LOG_INTERVAL = 10.0


class Peer:
    """One member, as whoever sends to it sees it. For one hub alone, or in turn by `send_nowait` and `finish`.

    Attributes:
        name: Its name.
        is_stuck: It has taken nothing while somebody waited for that.
        queued: How many bytes wait to be sent.
        dropped: How many messages it did not get.
        is_gone: It has ended; nothing more is sent.
    """

    __slots__ = (
        "_is_writing",
        "_members",
        "_moved",
        "_queue",
        "_quiet_until",
        "_sock",
        "dropped",
        "is_gone",
        "is_stuck",
        "name",
        "queued",
    )

    def __init__(self, members: Members, name: str) -> None:
        self.name = name
        self.queued = 0
        self.dropped = 0
        self.is_gone = False
        self._members = members
        self._queue: deque[memoryview] = deque()
        self._sock: GreenSocket | None = None
        self._is_writing = False
        self.is_stuck = False
        self._moved = WaitQueue()
        self._quiet_until = 0.0

    def send(self, frame: bytes) -> None:
        """Have ``frame`` sent behind those before it. Never switches."""
        if self._is_writing:
            self._add(frame)
        elif not self.send_nowait(frame):
            self._is_writing = True
            spawn_n(self._keep_writing)

    def send_nowait(self, frame: bytes) -> bool:
        """Send ``frame`` behind those before it, as far as the system takes them: True if all. Never switches."""
        self._add(frame)
        try:
            # At once, so that it has left this process whatever becomes of that. Not by the socket's own method,
            # which may switch: whoever emits may be killed there, in the middle.
            self._write(base_socket.send, 0)
        except BlockingIOError:
            return False
        return True

    def finish(self, patience: float) -> None:
        """Send what is queued, unless the member takes nothing for ``patience`` seconds. May switch."""
        while True:
            try:
                self._write(base_socket.send, patience)
                return
            except BlockingIOError:
                self.is_stuck = self._sock is None or not self._sock.wait_writable(patience)
            except TimeoutError:  # it can't even be connected to
                self.is_stuck = True
            if self.is_stuck:
                log.warning(
                    "process %d has taken no messages for %g s: it is not waited for until it takes some",
                    process_of(self.name),
                    patience,
                )
                return

    def wait_for_room(self) -> None:
        """Wait while the queue is long, as long as the member takes anything. May switch."""
        while self.queued > _SLOW_DOWN and not self.is_stuck:
            self.is_stuck = not self._moved.wait(_PATIENCE)

    def close(self) -> None:
        """Send nothing more."""
        self.is_gone = True
        self._queue.clear()
        self.queued = 0
        if self._sock is not None:
            self._sock.close()
        self._moved.wake_all()

    def _add(self, frame: bytes) -> None:
        if self.is_gone:
            return
        if self.queued >= MAX_QUEUED:
            self._drop()
            return
        self._queue.append(memoryview(frame))
        self.queued += len(frame)

    def _drop(self) -> None:
        self.dropped += 1
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_INTERVAL
            log.warning(
                "process %d takes no messages: %s dropped",
                process_of(self.name),
                counted(self.dropped, "message was", "messages were"),
            )

    def _keep_writing(self) -> None:
        while self._is_writing:
            try:
                self._write(GreenSocket.send, None)
            except BlockingIOError:
                if self._sock is not None:
                    with suppress(OSError):
                        self._sock.wait_writable()

    def _write(self, send: Callable[[GreenSocket, memoryview, int], int], connect_timeout: float | None) -> None:
        """Send what is queued.

        Raises:
            BlockingIOError: Not all of it can be sent without waiting.
            TimeoutError: It could not be connected to in ``connect_timeout`` seconds.
        """
        try:
            while self._queue:
                if self._sock is None:
                    self._sock = self._members.connect(self.name, connect_timeout)
                    if self.is_gone:  # closed while that waited
                        self._sock.close()
                        break
                self._advance(send(self._sock, self._queue[0], MSG_DONTWAIT))
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as exc:
            if isinstance(exc, (ConnectionError, FileNotFoundError)):
                log.debug("process %d is on the bus no more: %s", process_of(self.name), exc)
            else:
                lost = counted(len(self._queue), "message")
                log.warning("process %d does not get %s: %s", process_of(self.name), lost, exc)
            self.close()
        self._is_writing = False

    def _advance(self, sent: int) -> None:
        if self.is_gone:
            return
        rest = self._queue.popleft()[sent:]
        if rest:
            self._queue.appendleft(rest)
        self.queued -= sent
        self.is_stuck = False
        self._moved.wake_all()
