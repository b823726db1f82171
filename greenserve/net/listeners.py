"""Listening, accepting, connecting. Knows addresses and sockets; what is said on a connection is its handler's.

Facts about accept (Linux accept(2)):

- It hands on errors that a connection met before it was accepted, and says to treat them as "try again".
- Without a free fd or memory it fails at once, and the listener stays readable: who just tries again spins.
- Several processes or green threads may accept on one listener; all but one find nothing there.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, AF_UNIX, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET

from greenlet import getcurrent

from greenserve._log import get_logger
from greenserve._originals import default_timeout, monotonic
from greenserve._typing import Any
from greenserve.core.greenthreads import kill, spawn_n
from greenserve.core.waiters import WaitQueue
from greenserve.net.resolver import getaddrinfo
from greenserve.net.sockets import GreenSocket

__all__ = ["StopServe", "connect", "connections_of", "create_connection", "listen", "serve"]

log = get_logger("greenserve.net")

# An address: a pair of host and port (longer for IPv6), or the path of a Unix socket.
Address = tuple[Any, ...] | str | bytes | os.PathLike[str]

_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# The connection failed before it was accepted, or a firewall forbids it: the next one may be fine.
_CONNECTION_LOST = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED ENETDOWN EPROTO ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH EOPNOTSUPP ENETUNREACH ETIMEDOUT EPERM"
    ).split()
    if hasattr(errno, name)
)

# How long to wait for others to free an fd, in seconds, at first and at most.
_MIN_PAUSE = 0.05
_MAX_PAUSE = 1.0

# A server at its limit runs out of them with nearly every connection. Saying so this often, in seconds, is enough.
_LOG_INTERVAL = 10.0


def listen(
    addr: Address, family: int | None = None, backlog: int = 2048, reuse_addr: bool = True, reuse_port: bool = False
) -> GreenSocket:
    """Return a socket that listens on ``addr``. A host's name is looked up, and may switch.

    Args:
        addr: ``(host, port)``, with port 0 for any that is free and host ``""`` for all of IPv4; or the path of a Unix
            socket.
        family: By default that of ``addr``: a path is AF_UNIX, a host with a ``:`` AF_INET6, any other AF_INET.
        backlog: How many connections may wait to be accepted. The system may allow fewer.
        reuse_addr: Take a TCP port whose last connections are still fading away.
        reuse_port: Share the port with other sockets that ask for it; the system distributes the connections.

    ``("::", port)`` takes IPv4 connections too, whatever the system's default; their peers have addresses such as
    ``::ffff:192.0.2.1``. A Unix socket's file that nobody listens on any more is replaced.

    Raises:
        TypeError: ``addr`` is neither, such as a port alone, or the port is text.
        ValueError: ``addr`` is text such as ``"127.0.0.1:8000"``, which is no pair, and hardly meant as a path.
        OSError: As the system says; ``filename`` is the address.
    """
    if family is None:
        family = _family_of(addr, "listen")
    try:
        sock = GreenSocket(family, SOCK_STREAM)
        try:
            if family == AF_UNIX:
                _remove_stale(os.fspath(addr))  # type: ignore[arg-type]  # a path, by its family
            elif reuse_addr:
                sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            if family == AF_INET6:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
            if reuse_port:
                sock.setsockopt(SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(sock, addr)
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
    except OSError as exc:
        exc.filename = _describe(addr)
        raise
    return sock


def _family_of(addr: Address, caller: str) -> int:
    """Return the family that ``addr`` has by its shape. Raises ValueError or TypeError, in the name of ``caller``."""
    if isinstance(addr, tuple):
        return AF_INET6 if addr and isinstance(addr[0], str) and ":" in addr[0] else AF_INET
    if isinstance(addr, str):
        host, colon, port = addr.rpartition(":")
        # A file would be made of that name, and no client ever come.
        if colon and port.isdigit() and "/" not in addr and "\0" not in addr:
            raise ValueError(
                f"{caller}({addr!r}): give host and port as a pair, {caller}(({host.strip('[]')!r}, {int(port)})). "
                f"The Unix socket of that name is './{addr}'"
            )
    elif not isinstance(addr, (bytes, os.PathLike)):
        raise TypeError(
            f"{caller}({addr!r}): give host and port as a pair, such as {caller}(('127.0.0.1', 8000)), "
            f"or the path of a Unix socket"
        )
    return AF_UNIX


def _bind(sock: GreenSocket, addr: Address) -> None:
    try:
        sock.bind(addr if isinstance(addr, tuple) else os.fspath(addr))
    except TypeError as exc:
        example = ("127.0.0.1", 8000)
        if isinstance(addr, tuple) and len(addr) == 2 and str(addr[1]).isdigit():
            example = (addr[0], int(addr[1]))
        raise TypeError(
            f"listen({addr!r}): give the host as text and the port as a number, such as listen({example!r})"
        ) from exc


def _describe(addr: Address) -> str:
    if not isinstance(addr, tuple):
        return os.fsdecode(addr)
    host, port = addr[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _remove_stale(path: str | bytes) -> None:
    """Remove the file of a Unix socket that nobody listens on."""
    if not path or path[0] in {"\0", 0}:
        return  # Linux's abstract names are no files
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return  # bind says that the address is in use
    except FileNotFoundError:
        return
    with GreenSocket(AF_UNIX, SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def connections_of(sock: GreenSocket) -> Iterator[tuple[GreenSocket, Any]]:
    """Accept for ever: yield each connection with its peer's address, until ``sock`` is closed. May switch.

    A connection that was lost before it could be accepted is passed over. When the system has no fd or memory left for
    another one, that is logged and tried again after a pause, until it works.

    Raises:
        BlockingIOError: ``sock`` is non-blocking, and no connection waits.
        OSError: What is wrong with ``sock`` itself.
    """
    pause = 0.0
    quiet_until = 0.0
    while True:
        try:
            connection = sock.accept()
        except OSError as exc:
            if sock.fileno() < 0:
                return
            if exc.errno in _CONNECTION_LOST:
                log.debug("a connection was lost before it was accepted: %s", exc)
                continue
            if exc.errno not in _OUT_OF_RESOURCES or not sock.getblocking():
                raise
            now = monotonic()
            if now >= quiet_until:
                quiet_until = now + _LOG_INTERVAL
                log.error("can't accept connections: %s; trying again until it works", exc)
            pause = min(pause * 2 or _MIN_PAUSE, _MAX_PAUSE)
        else:
            pause = 0.0
            yield connection
            continue
        try:
            # A listener is never writable. This is a sleep that ends when somebody closes or interrupts it.
            sock.wait_writable(pause)
        except OSError:
            if sock.fileno() < 0:
                return
            raise


class StopServe(Exception):
    """Raised by a handler to let `serve` return."""


class _Handlers:
    """The green threads that one `serve` has started."""

    def __init__(self, handle: Callable[[GreenSocket, Any], Any]) -> None:
        self.running = 0
        self.room = WaitQueue()
        self._handle = handle
        self._server: Any = getcurrent()  # None: it has been told to stop, or has returned

    def run(self, conn: GreenSocket, address: Any) -> None:
        """What each of them runs. May switch."""
        try:
            self._handle(conn, address)
        except StopServe as exc:
            server, self._server = self._server, None
            if server is not None:
                kill(server, exc)
        finally:
            conn.close()
            self.running -= 1
            self.room.wake()

    def forget_server(self) -> None:
        self._server = None


def serve(sock: GreenSocket, handle: Callable[[GreenSocket, Any], Any], concurrency: int = 1000) -> None:
    """Call ``handle(conn, address)`` in a green thread of its own for each connection to ``sock``. May switch.

    The connection is closed when the handler has returned; what it raises is logged. It returns when a handler raises
    `StopServe`, or when ``sock`` is closed; handlers that run then go on.

    Args:
        concurrency: How many handlers may run at once. Further connections wait in the backlog.

    Raises:
        TypeError: ``handle`` can't be called.
        ValueError: ``concurrency`` is less than 1.
    """
    if not callable(handle):
        raise TypeError(
            f"serve(..., {handle!r}): give a function, which is called with each connection and its address"
        )
    if concurrency < 1:
        raise ValueError(f"serve(..., concurrency={concurrency!r}): at least one handler has to run")
    handlers = _Handlers(handle)
    try:
        for conn, address in connections_of(sock):
            handlers.running += 1
            spawn_n(handlers.run, conn, address)
            while handlers.running >= concurrency:
                handlers.room.wait()
    except StopServe:
        log.debug("a handler has stopped the serving of %r", sock)
    finally:
        handlers.forget_server()


def connect(addr: Address, family: int | None = None, bind: Address | None = None) -> GreenSocket:
    """Return a stream socket that is connected to ``addr``. May switch.

    Args:
        addr: ``(host, port)``, or the path of a Unix socket. Each of a host's addresses is tried until one answers.
        family: Only addresses of this family.
        bind: The address to connect from.

    Raises:
        ValueError: ``addr`` is text such as ``"127.0.0.1:8000"``, as for `listen`.
        OSError: As the system says, for the last address; ``filename`` is ``addr``.
    """
    try:
        if isinstance(addr, tuple):
            found = getaddrinfo(addr[0], addr[1], family or 0, SOCK_STREAM)
            return _connect_first([(info[0], (*info[4][:2], *addr[2:], *info[4][len(addr) :])) for info in found], bind)
        return _connect_first([(_family_of(addr, "connect") if family is None else family, os.fspath(addr))], bind)
    except OSError as exc:
        exc.filename = _describe(addr)
        raise


def create_connection(
    address: tuple[str | None, int | str | None],
    timeout: Any = default_timeout,
    source_address: tuple[str, int] | None = None,
) -> GreenSocket:
    """``socket.create_connection`` with a green socket. May switch.

    Args:
        address: Host and port. Each of the host's addresses is tried until one answers.
        timeout: Seconds for each attempt, and of the socket from then on; the default timeout if it is not given.
        source_address: The address to connect from.

    Raises:
        OSError: That of the last attempt.
    """
    found = getaddrinfo(address[0], address[1], 0, SOCK_STREAM)
    return _connect_first([(info[0], info[4]) for info in found], source_address, timeout)


def _connect_first(
    candidates: list[tuple[int, Any]], source: Address | None, timeout: Any = default_timeout
) -> GreenSocket:
    """Return a socket connected to the first of ``candidates``, family and address, that answers. May switch."""
    error: OSError | None = None
    for family, address in candidates:
        try:
            sock = GreenSocket(family, SOCK_STREAM)
            try:
                if timeout is not default_timeout:
                    sock.settimeout(timeout)
                if source is not None:
                    sock.bind(source if isinstance(source, tuple) else os.fspath(source))
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
        except OSError as exc:
            error = exc
        else:
            return sock
    try:
        raise error or OSError("the name has no address")
    finally:
        error = None  # its traceback holds this frame
