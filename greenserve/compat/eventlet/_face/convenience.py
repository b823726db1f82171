"""``eventlet.convenience``: listening, connecting, serving, with eventlet's defaults."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve import extras
from greenserve.compat.eventlet._face.greenio import GreenSocket
from greenserve.compat.eventlet._face.greenpool import GreenPool
from greenserve.compat.eventlet._face.greenthread import GreenThread, kill
from greenserve.net.listeners import StopServe

__all__ = [
    "ReusePortUnavailableWarning",
    "ReuseRandomPortWarning",
    "StopServe",
    "connect",
    "listen",
    "serve",
    "wrap_ssl",
]


class ReuseRandomPortWarning(Warning):
    """Port 0 was to be shared: whoever asks for it gets another one each time."""


class ReusePortUnavailableWarning(Warning):
    """The system defines SO_REUSEPORT and refuses it."""


def connect(addr: Any, family: int = socket.AF_INET, bind: Any = None) -> GreenSocket:
    """Return a stream socket connected to ``addr``, from the address ``bind`` if given. May switch."""
    sock = GreenSocket(family, socket.SOCK_STREAM)
    try:
        if bind is not None:
            sock.bind(bind)
        sock.connect(addr)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(
    addr: Any,
    family: int = socket.AF_INET,
    backlog: int = 50,
    reuse_addr: bool = True,
    reuse_port: bool | None = None,
) -> GreenSocket:
    """Return a socket that listens on ``addr``.

    Args:
        reuse_port: Share the port with other sockets that ask for it. None does so for every port but 0.
    """
    sock = GreenSocket(family, socket.SOCK_STREAM)
    try:
        if reuse_addr:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family in (socket.AF_INET, socket.AF_INET6) and addr[1] == 0:
            if reuse_port:
                warnings.warn(
                    "listen on random port (0) with SO_REUSEPORT is dangerous: each call gets another port",
                    ReuseRandomPortWarning,
                    stacklevel=2,
                )
        elif reuse_port is None:
            reuse_port = family in (socket.AF_INET, socket.AF_INET6)
        if reuse_port:
            _share_port(sock)
        sock.bind(addr)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(sock: GreenSocket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as exc:
        warnings.warn(
            f"socket.SO_REUSEPORT is defined but not supported: {exc}", ReusePortUnavailableWarning, stacklevel=4
        )


def serve(sock: Any, handle: Callable[..., Any], concurrency: int = 1000) -> None:
    """Call ``handle(conn, address)`` in a green thread for each connection to ``sock``. May switch.

    It returns when a handler raises `StopServe`; any other exception of a handler is raised here. The connection is
    closed when its handler has ended.
    """
    pool = GreenPool(concurrency)
    server = getcurrent()
    try:
        while True:
            conn, address = sock.accept()
            pool.spawn(handle, conn, address).link(_after_handler, server, conn)
            del conn, address
    except StopServe:
        return


def _after_handler(thread: GreenThread, server: greenlet, conn: Any) -> None:
    try:
        thread.wait()
    except GreenletExit:
        pass
    except Exception as exc:  # noqa: BLE001 - the server's, whatever it is
        kill(server, exc)
    finally:
        conn.close()


def wrap_ssl(sock: Any, *a: Any, **kw: Any) -> Any:
    """Return ``sock`` as a TLS socket. The keywords are those that ``ssl.wrap_socket`` had, and ``ssl_context``."""
    return extras.load(None, "greenserve.compat.eventlet._face.green.ssl").wrap_socket(sock, *a, **kw)
