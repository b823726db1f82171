"""What ``--bind`` says, as listening sockets. Knows addresses and sockets; serves nobody."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack

from greenserve._kinds import InheritedFd, TcpAddress, UnixAddress
from greenserve.errors import GreenserveError
from greenserve.net.listeners import listen
from greenserve.net.sockets import GreenSocket

__all__ = ["BindError", "Listener", "open_listeners"]

log = logging.getLogger("greenserve")

Address = TcpAddress | UnixAddress | InheritedFd


class BindError(GreenserveError):
    """An address can't be listened on. The message names it and says why.

    Attributes:
        is_in_use: Somebody else listens there.
    """

    def __init__(self, message: str, is_in_use: bool = False) -> None:
        super().__init__(message)
        self.is_in_use = is_in_use


class Listener:
    """One listening socket, and what there is to clean up after it.

    ``str()`` is where it can be reached: a URL with the real port, or ``unix:PATH``.
    """

    __slots__ = ("_file", "scheme", "socket")

    def __init__(self, sock: GreenSocket, path: str | None = None) -> None:
        self.socket = sock
        self.scheme = "http"
        # The file that bind() made, by its path and identity: by the time we go, another server may have its own there.
        self._file = (path, _identity(path)) if path is not None else None

    def __str__(self) -> str:
        name = self.socket.getsockname()
        if not isinstance(name, tuple):
            return f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
        host, port = name[:2]
        return f"{self.scheme}://[{host}]:{port}/" if ":" in host else f"{self.scheme}://{host}:{port}/"

    def close(self) -> None:
        """Close the socket and remove its file. Who has become another user may not be allowed to: then that stays."""
        self.socket.close()
        if self._file is not None:
            path, identity = self._file
            self._file = None
            try:
                if _identity(path) == identity:
                    os.unlink(path)
            except OSError as exc:
                log.info("the socket's file %s stays, and is replaced by the next server: %s", path, exc.strerror)


def open_listeners(
    addresses: Iterable[Address],
    *,
    backlog: int,
    reuse_port: bool = False,
    unix_socket_mode: int | None = None,
    scheme: str = "http",
) -> list[Listener]:
    """Listen on all of ``addresses``, or on none.

    Args:
        unix_socket_mode: The permissions of Unix sockets; None leaves what the umask does.
        scheme: What the URLs of TCP addresses begin with.

    Raises:
        BindError: One of them can't be listened on.
    """
    listeners: list[Listener] = []
    with ExitStack() as undo:
        for address in addresses:
            listener = _open(address, backlog, reuse_port, unix_socket_mode)
            undo.callback(listener.close)
            listener.scheme = scheme
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _open(address: Address, backlog: int, reuse_port: bool, unix_socket_mode: int | None) -> Listener:
    try:
        if isinstance(address, UnixAddress):
            return _open_unix(address.path, backlog, unix_socket_mode)
        if isinstance(address, InheritedFd):
            return _adopt(address.fd)
        return Listener(listen((address.host, address.port), backlog=backlog, reuse_port=reuse_port))
    except OSError as exc:
        message = f"can't listen on {address}: {_explain(address, exc)}"
        raise BindError(message, is_in_use=exc.errno == errno.EADDRINUSE) from exc


def _open_unix(path: str, backlog: int, mode: int | None) -> Listener:
    if mode is None:
        return Listener(listen(path, socket.AF_UNIX, backlog), path)
    # A chmod afterwards would leave a moment in which the file has other permissions.
    umask = os.umask(0o777 & ~mode)
    try:
        return Listener(listen(path, socket.AF_UNIX, backlog), path)
    finally:
        os.umask(umask)


def _adopt(fd: int) -> Listener:
    sock = GreenSocket(fileno=fd)
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "a socket that does not listen")
    except BaseException:
        sock.detach()  # not ours to close
        raise
    return Listener(sock)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _explain(address: Address, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return "a server is there, or another file" if isinstance(address, UnixAddress) else "it is in use"
    if exc.errno in {errno.EACCES, errno.EPERM}:
        return "no permission"
    if exc.errno == errno.EADDRNOTAVAIL:
        return "it is no address of this machine"
    if exc.errno in {errno.EBADF, errno.ENOTSOCK}:
        return "there is no open socket of this number"
    return exc.strerror or " ".join(map(str, exc.args))
