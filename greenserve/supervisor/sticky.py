"""Sticky sessions by a number: each request is served by the worker that the client's first one came to.

The number of the place is in a cookie of ours, and in the ids of Socket.IO's sessions, which clients send without a
cookie too: `greenserve.contrib` puts it there. A session's goes first, since only its owner knows it.

Who has neither, or a number where nobody is, is served by the worker that has accepted the connection, and counts there
as a client that will come back (`balance.py`), so that each worker gets as many.

A proxy sends requests of many clients over one connection, so this is decided for each request, when its head has been
read. If another worker is its owner, that gets the connection (SCM_RIGHTS, unix(7)) and the bytes that were read from
it, over a Unix socket, and serves it on from there; until a request comes that is somebody else's. Handing over costs
a fraction of a millisecond; a client with a connection of its own pays that once.

The master holds the socket of each place, so that what is on its way to a worker that dies waits for the next one
there. A worker that leaves takes no more from it, and nobody sends to a place without a worker.

What can't be handed over: TLS, whose state is in the process that did the handshake. The number is that of a place and
nothing secret: whoever forges one chooses a worker, as by connecting again.
"""

from __future__ import annotations

import array
import json
import logging
import os
import re
import shutil
import socket
import struct
import tempfile
from typing import Any, ClassVar

from greenserve._bus.place import number_in
from greenserve.binds import BindError
from greenserve.config import Config
from greenserve.core.greenthreads import spawn_n
from greenserve.errors import SettingError
from greenserve.net.listeners import connections_of, listen
from greenserve.net.sockets import GreenSocket
from greenserve.supervisor.balance import Shares
from greenserve.supervisor.identity import Owner
from greenserve.sync.semaphores import Semaphore
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.run import ExcInfo, WSGIApp
from greenserve.wsgi.server import Server

__all__ = [
    "COOKIE",
    "Exchange",
    "Handover",
    "StickyProtocol",
    "check_settings",
    "decode",
    "encode",
    "owner_of",
    "rebuild_head",
]

log = logging.getLogger("greenserve.supervisor")

COOKIE = "greenserve_worker"

_COOKIE = re.compile(rf"(?:^|;)[ \t]*{COOKIE}=([0-9]{{1,4}})[ \t]*(?:;|$)")

# Before what is handed over: the length, in bytes, of the JSON that describes it.
_LENGTH = struct.Struct("!I")
_MAX_DESCRIPTION = 4096

# How long a worker may take to hand something over, in seconds, or to take it.
_TIMEOUT = 10.0

# So many are taken at once: by so many a worker's connections may exceed its max_size.
_AT_ONCE = 16


class Exchange:
    """The sockets over which workers hand each other connections: one for each place, made and held by the master."""

    def __init__(self, owner: Owner) -> None:
        """Let them belong to ``owner``, as whom the workers run, and to nobody else.

        Raises:
            BindError: There is no place for them.
        """
        try:
            self._folder = tempfile.mkdtemp(prefix="greenserve-")
            owner.give(self._folder)
        except OSError as exc:
            raise BindError(f"can't make the folder for the sockets of sticky = 'cookie': {exc}") from exc
        self._owner = owner
        self._listeners: list[GreenSocket] = []

    def resize(self, count: int) -> None:
        """Have sockets for ``count`` places at least.

        Raises:
            BindError: There can't be more.
        """
        while len(self._listeners) < count:
            path = self.path(len(self._listeners))
            try:
                self._listeners.append(listen(path))
                self._owner.give(path)
            except OSError as exc:
                raise BindError(f"can't make the sockets of sticky = 'cookie': {exc}") from exc

    def path(self, number: int) -> str:
        """Return where the worker of this number takes connections."""
        return os.path.join(self._folder, str(number))

    def take(self, number: int) -> GreenSocket:
        """Return the socket of this number, in its worker, and close the others there."""
        for place, listener in enumerate(self._listeners):
            if place != number:
                listener.close()
        return self._listeners[number]

    def close(self) -> None:
        """Remove them all. In the master."""
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def owner_of(environ: Environ) -> int | None:
    """Return the number of the place that the session in the query or the client's cookie names, or None."""
    number = number_in(environ.get("QUERY_STRING", ""))
    if number is None and (match := _COOKIE.search(environ.get("HTTP_COOKIE", ""))):
        number = int(match[1])
    return number


def rebuild_head(environ: Environ) -> bytes:
    """Return the head that ``environ`` was made of: the same fields, each with its value, in the same order."""
    lines = [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"]
    lines += [f"{name}: {value}" for name, value in environ["headers_raw"]]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def encode(address: Any, local: Any, data: bytes) -> bytes:
    """Return what goes with a connection: whose it is, what it is connected to, and the bytes that were read."""
    description = json.dumps([address, local]).encode()
    return _LENGTH.pack(len(description)) + description + data


def decode(message: bytes) -> tuple[Any, Any, bytes]:
    """Return what `encode` was given.

    Raises:
        ValueError: It did not come whole.
    """
    if len(message) < _LENGTH.size:
        raise ValueError("the message is too short")
    (length,) = _LENGTH.unpack_from(message)
    end = _LENGTH.size + length
    if length > _MAX_DESCRIPTION or len(message) < end:
        raise ValueError("the message is cut off")
    description = json.loads(message[_LENGTH.size : end])
    if not isinstance(description, list) or len(description) != 2:
        raise ValueError("the description is not a pair")
    address, local = description
    # Addresses are tuples to whoever looks at them; Unix peers have a text.
    return _tuple(address), _tuple(local), message[end:]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Handover:
    """What one worker hands to the others, and takes from them."""

    def __init__(self, exchange: Exchange, number: int, shares: Shares, server: Server) -> None:
        self._exchange = exchange
        self._number = number
        self._shares = shares
        self._server = server
        self._listener = exchange.take(number)
        self._turns = Semaphore(_AT_ONCE)

    def start(self) -> None:
        """Take connections, until the server stops."""
        StickyProtocol.handover = self
        self._server.protocol = StickyProtocol
        spawn_n(self._receive)

    def stop(self) -> None:
        """Take no more: the next worker of this number does."""
        self._listener.close()

    def welcome(self, owner: int | None) -> None:
        """Count the client of a request that is served here as one that will come back, unless this is its owner."""
        if owner != self._number:
            self._shares.welcome(self._number)

    def is_elsewhere(self, owner: int) -> bool:
        """Whether another worker, which is there, has this number."""
        return owner != self._number and self._shares.is_present(owner)

    def wrap(self, app: WSGIApp) -> WSGIApp:
        """Return ``app`` with the cookie added to answers to whoever has none that leads here."""
        field = ("Set-Cookie", f"{COOKIE}={self._number}; Path=/; HttpOnly; SameSite=Lax")

        def sticky(environ: Environ, start_response: Any) -> Any:
            if owner_of(environ) == self._number:
                return app(environ, start_response)

            def start(status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Any:
                return start_response(status, [*headers, field], exc_info)

            return app(environ, start)

        return sticky

    def send(self, number: int, conn: GreenSocket, message: bytes) -> bool:
        """Hand ``conn`` to the worker of this number. False if that can't be done. May switch."""
        try:
            with GreenSocket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
                channel.settimeout(_TIMEOUT)  # for connecting, too: whoever hangs takes nothing, and its queue is full
                channel.connect(self._exchange.path(number))
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [conn.fileno()]))]
                sent = channel.sendmsg([message], rights)
                if sent < len(message):
                    channel.sendall(message[sent:])
        except OSError as exc:
            log.warning("can't hand a connection to worker %d, and serve it here: %s", number + 1, exc)
            return False
        return True

    def _receive(self) -> None:
        for channel, _ in connections_of(self._listener):
            spawn_n(self._take_in_turn, channel)
            self._turns.acquire()
            self._server.wait_for_room(self._listener)

    def _take_in_turn(self, channel: GreenSocket) -> None:
        try:
            self._take(channel)
        finally:
            self._turns.release()

    def _take(self, channel: GreenSocket) -> None:
        fds = array.array("i")
        try:
            with channel:
                channel.settimeout(_TIMEOUT)
                message, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(fds.itemsize))
                for level, kind, data in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        fds.frombytes(data)
                while part := channel.recv(65536):
                    message += part
            address, local, data = decode(message)
            if not fds:  # where no fd is free the system leaves it out, and says nothing (unix(7))
                raise ValueError("there is no file descriptor for it")
        except (OSError, ValueError) as exc:
            log.warning("a connection that another worker handed over did not arrive: %s", exc)
            for fd in fds:
                os.close(fd)
            return
        for fd in fds:
            conn = GreenSocket(fileno=fd)
            conn.settimeout(None)
            protocol = StickyProtocol(conn, address, self._server, data)
            protocol.is_adopted = True
            protocol._local = local
            self._server.serve_connection(protocol)


class StickyProtocol(HttpProtocol):
    """A connection that goes to another worker when a request on it belongs there.

    Attributes:
        is_adopted: Another worker has accepted it.
    """

    __slots__ = ("is_adopted",)

    handover: ClassVar[Handover]  # this process's

    def __init__(self, conn: GreenSocket, address: Any, server: Server, initial: bytes = b"") -> None:
        super().__init__(conn, address, server, initial)
        self.is_adopted = False

    def _meet_proxy(self, version: str) -> bool:
        # Who accepted it has met the proxy.
        return self.is_adopted or super()._meet_proxy(version)

    def _read_head(self) -> Environ | None:
        environ = super()._read_head()
        # Whose the next request is shows in a field that a head which is nearly the same does not show.
        self._last_head = None
        if environ is None or self.conn.is_tls:
            return environ
        handover, owner = self.handover, owner_of(environ)
        if owner is not None and handover.is_elsewhere(owner):
            message = encode(self.address, self._local, rebuild_head(environ) + self.rfile.buffer)
            if handover.send(owner, self.conn, message):
                return None  # without an environ there is no request: the connection ends here, and our copy is closed
        if not self.served:  # once for a connection: who keeps no cookies does not come back with the next request
            handover.welcome(owner)
        return environ


def check_settings(config: Config) -> None:
    """Raise SettingError if connections can't be handed over with these settings."""
    if config.sticky == "cookie" and config.certfile is not None:
        where = f"sticky = 'cookie' ({config.origin('sticky')}) beside certfile"
        raise SettingError(
            f"{where}: what speaks TLS can't be handed to another worker. Let a proxy speak it, or use --sticky address"
        )
