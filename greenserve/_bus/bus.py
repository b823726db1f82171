"""A message bus, as a program holds it: what one member publishes all the others get, in that order.

Nobody is in the middle: each member sends to each other one, so that there is nothing to keep running, and an end of
any of them is nobody else's. A message is given to the kernel before `Bus.publish` returns, unless the receiver is
behind; from then on it arrives, even if the sender ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from greenserve._bus.frames import FrameReader, FrameTooLarge, encode_frame
from greenserve._bus.members import Members
from greenserve._bus.peers import Peer
from greenserve.core.greenthreads import spawn, spawn_n
from greenserve.core.hub import Hub, get_hub, has_hub
from greenserve.core.waiters import WaitQueue
from greenserve.net.listeners import connections_of
from greenserve.net.sockets import GreenSocket
from greenserve.sync.locks import Lock
from greenserve.sync.queues import Queue

__all__ = ["Bus", "Sender"]

log = logging.getLogger("greenserve.bus")

# How much is read at once, in bytes.
_CHUNK = 1 << 18

# How many messages wait for whoever takes them, before no more are read.
_MAX_WAITING = 16

# How many that other OS threads have published wait for the hub's, before those threads do.
_MAX_OUTGOING = 1000

# How long another OS thread waits for the hub's, and a program that only sends for a member that takes nothing, in
# seconds.
_TIMEOUT = 5.0


class Bus:
    """A membership.

    Messages are sent and received in the hub of the OS thread that runs `messages`; they may be published in any.
    """

    def __init__(self, folder: str, channel: str) -> None:
        """Become a member of ``channel``; from now on what others publish waits for `messages`.

        Raises:
            OSError: The folder can't be used for it.
        """
        self._members = Members(folder, channel)
        self._name, self._listener = self._members.enter()
        self._peers: dict[str, Peer] = {}
        self._outgoing: deque[bytes] = deque()
        self._sent = WaitQueue()  # of other threads
        self._inbox: Queue[bytes] = Queue(_MAX_WAITING)
        self._incoming: set[GreenSocket] = set()
        self._is_closed = False
        self._hub: Hub | None = None

    @property
    def dropped(self) -> int:
        """How many messages were dropped, for members that take none."""
        return sum(peer.dropped for peer in self._peers.values())

    def messages(self) -> Iterator[bytes]:
        """Yield what others publish, until somebody calls `close`. Once in a membership. May switch."""
        self._hub = hub = get_hub()
        hub.call_soon_threadsafe(self._send)  # what was published before
        spawn_n(self._accept)
        while True:
            message = self._inbox.get()
            if self._is_closed:
                return
            yield message

    def publish(self, message: bytes) -> None:
        """Send ``message`` to all others. May switch, while others are behind or, in another thread, the hub's is.

        Raises:
            FrameTooLarge: It is.
        """
        self._outgoing.append(encode_frame(message))  # atomic: deque.append
        hub = self._hub
        if hub is None:
            return
        if not has_hub() or get_hub() is not hub:
            hub.call_soon(self._send)
            self._wait_for_hub()
            return
        self._send()
        for peer in list(self._peers.values()):
            peer.wait_for_room()

    def close(self) -> None:
        """Be a member no more: what is published from now on goes to nobody, and nothing comes. From any OS thread."""
        self._is_closed = True
        self._listener.close()
        self._members.remove(self._name)
        for peer in list(self._peers.values()):
            peer.close()
        # To the others an open connection is a member that listens: they would go on, and wait for it.
        for conn in list(self._incoming):
            conn.close()
        # Whoever reads may wait for room, and whoever listens for a message: this ends both.
        self._inbox.resize(None)
        self._inbox.put(b"")

    def _send(self) -> None:
        # In the hub's thread, and without a switch: so the order is the same for all.
        while self._outgoing:
            frame = self._outgoing.popleft()
            for peer in self._others():
                peer.send(frame)
        self._sent.wake_all()

    def _wait_for_hub(self) -> None:
        if len(self._outgoing) <= _MAX_OUTGOING:
            return
        waiter = self._sent.enter()
        if len(self._outgoing) <= _MAX_OUTGOING:  # the hub was faster
            self._sent.leave(waiter)
        else:
            self._sent.finish(waiter, _TIMEOUT)

    def _others(self) -> list[Peer]:
        if self._is_closed:
            return []
        names = self._members.names()
        for name in [name for name, peer in self._peers.items() if peer.is_gone]:
            del self._peers[name]
        for name in names:
            if name not in self._peers and name != self._name:
                self._peers[name] = Peer(self._members, name)
        return list(self._peers.values())

    def _accept(self) -> None:
        for conn, _ in connections_of(self._listener):
            spawn_n(self._read, conn)

    def _read(self, conn: GreenSocket) -> None:
        reader = FrameReader()
        self._incoming.add(conn)
        try:
            with conn:
                while not self._is_closed and (data := conn.recv(_CHUNK)):
                    for message in reader.feed(data):
                        self._inbox.put(message)
        except (OSError, FrameTooLarge) as exc:
            if not self._is_closed:
                log.warning("lost a member of the message bus: %s", exc)
        finally:
            self._incoming.discard(conn)


class Sender:
    """For a program that only publishes. It may be used in any OS thread.

    Nothing of it runs between two calls, since such a program may have no hub that does: whoever publishes sees to it
    that all have it.
    """

    def __init__(self, folder: str, channel: str, patience: float = _TIMEOUT) -> None:
        """``patience`` is for how many seconds a member that takes nothing is waited for, until it takes something."""
        self._members = Members(folder, channel)
        self._patience = patience
        self._peers: dict[str, Peer] = {}
        self._lock = Lock()

    def publish(self, message: bytes) -> None:
        """Send ``message`` to all members, and return when they have it or stand still. May switch.

        What one that stands still does not take waits for the next call, in bounds, and for it alone.

        Raises:
            FrameTooLarge: It is.
        """
        frame = encode_frame(message)
        with self._lock:
            behind = [peer for peer in self._others() if not peer.send_nowait(frame) and not peer.is_stuck]
            threads = [spawn(peer.finish, self._patience) for peer in behind]
            try:
                for thread in threads:
                    thread.wait()
            finally:  # whoever publishes may be killed
                for thread in threads:
                    thread.kill()

    def _others(self) -> list[Peer]:
        names = set(self._members.names())
        for name, peer in list(self._peers.items()):
            if peer.is_gone or name not in names:
                self._peers.pop(name).close()
        for name in names - self._peers.keys():
            self._peers[name] = Peer(self._members, name)
        return list(self._peers.values())

    def close(self) -> None:
        """Give back the connections."""
        with self._lock:
            while self._peers:
                self._peers.popitem()[1].close()
