"""What an app can be told of while its request runs: that its client has left, and that the server stops.

Knows sockets and green threads; no HTTP.

Facts this rests on (Linux epoll(7), poll(2)):

- EPOLLRDHUP tells that the peer has shut down its side, whether or not there is still something to read before that.
- An epoll object is itself readable when it has something to tell.

What this means for us: one epoll object beside the hub's watches every client that an app has asked about. It needs no
green thread for each, reads nothing, and never takes a request that waits behind this one for a reason to look again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import Any

from greenserve._originals import base_socket, poll_type, select
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.hub import get_hub
from greenserve.core.waiters import wait_readable
from greenserve.errors import ClosedWhileWaiting
from greenserve.wsgi.connection import Connection

__all__ = ["DisconnectWatch", "HookedConnection", "Hooks", "has_left"]

# Zero where the system has no such thing: then a look at the first byte has to do.
_GONE = getattr(select, "POLLRDHUP", 0)
_EPOLL_GONE = getattr(select, "EPOLLRDHUP", 0)


def has_left(sock: base_socket) -> bool:
    """Whether the peer of ``sock`` has ended its side, or the whole connection. Reads nothing; never switches.

    A peer that only says that it will send no more looks the same as one that has left.
    """
    fd = sock.fileno()
    if fd < 0:
        return True
    if _GONE:
        poll = poll_type()
        poll.register(fd, _GONE)
        return bool(poll.poll(0))
    try:
        # The socket's own recv: below TLS, and without waiting.
        return base_socket.recv(sock, 1, MSG_PEEK | MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class DisconnectWatch:
    """Calls back when the peers of some sockets have left. Made in the OS thread of the server's hub."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[base_socket, Callable[[], Any]]] = {}
        self._fds: dict[base_socket, int] = {}  # a socket that is closed has none any more
        self._epoll = select.epoll() if _EPOLL_GONE else None
        self._thread: GreenThread[None] | None = None
        if self._epoll is not None:
            self._source = get_hub().poller.source(self._epoll.fileno())
            self._thread = spawn(self._run)

    def add(self, sock: base_socket, callback: Callable[[], Any]) -> None:
        """Call ``callback``, which must not wait, once ``sock``'s peer has left; soon, if it already has."""
        fd = sock.fileno()
        if self._epoll is not None:
            try:
                self._epoll.register(fd, _EPOLL_GONE)
            except FileExistsError:
                pass
        self._watched[fd] = sock, callback
        self._fds[sock] = fd

    def discard(self, sock: base_socket) -> None:
        """Call nobody for ``sock``, closed or not. No effect if it is not watched."""
        fd = self._fds.pop(sock, None)
        if fd is not None and self._watched.get(fd, (None,))[0] is sock:  # else the number is or was another's by now
            self._drop(fd)

    def _drop(self, fd: int) -> tuple[base_socket | None, Callable[[], Any] | None]:
        if self._epoll is not None:
            with suppress(OSError):  # it is closed
                self._epoll.unregister(fd)
        return self._watched.pop(fd, (None, None))

    def look(self) -> None:
        """Where the system does not tell by itself: find out who has left. For the server's sweep."""
        if self._epoll is None:
            for fd, (sock, _) in list(self._watched.items()):
                if has_left(sock):
                    self._tell(fd)

    def _run(self) -> None:
        assert self._epoll is not None
        while True:
            try:
                wait_readable(self._source)
            except ClosedWhileWaiting:
                return
            for fd, _ in self._epoll.poll(0):
                self._tell(fd)

    def _tell(self, fd: int) -> None:
        sock, callback = self._drop(fd)
        if sock is not None and callback is not None:
            del self._fds[sock]
            callback()

    def close(self) -> None:
        """Watch nobody any more."""
        self._watched.clear()
        self._fds.clear()
        if self._epoll is not None and not self._epoll.closed:
            get_hub().close_source(self._source)
            self._epoll.close()


class Hooks:
    """The callbacks of one request, each to be called in a green thread of its own."""

    __slots__ = ("on_disconnect", "on_stop", "request")

    def __init__(self, request: object) -> None:
        self.request = request
        self.on_disconnect: list[Callable[[], Any]] = []
        self.on_stop: list[Callable[[], Any]] = []


class HookedConnection(Connection):
    """A connection whose app can be told things while it runs: what it puts into environ for that.

    Attributes:
        response: What stands for the request that runs, or None. Nobody is called for another one.
        hooks: Those of the last request that wanted to be told anything, or None.
    """

    __slots__ = ("hooks",)

    response: object
    hooks: Hooks | None

    def has_client_left(self) -> bool:
        """``environ["greenserve.disconnected"]``: whether the client has ended its side of the connection.

        Requests that wait behind this one don't matter. Never switches.
        """
        return has_left(self.conn)

    def on_disconnect(self, callback: Callable[[], Any]) -> None:
        """``environ["greenserve.on_disconnect"]``: call ``callback`` if the client leaves before the request has ended.

        Once, in a green thread of its own, and soon, if it has left already.

        Raises:
            RuntimeError: There is no request running.
        """
        hooks = self._hooks_of_request()
        if not hooks.on_disconnect:
            self.server.watch_client(self, partial(self._call_hooks, hooks, hooks.on_disconnect))
        hooks.on_disconnect.append(callback)

    def on_stop(self, callback: Callable[[], Any]) -> None:
        """``environ["greenserve.on_stop"]``: call ``callback`` if the server stops before the request has ended.

        Once, when a graceful stop begins, in a green thread of its own; soon, if it has begun already. The connection
        is cut after ``graceful_timeout``, whatever became of the callback.

        Raises:
            RuntimeError: There is no request running.
        """
        hooks = self._hooks_of_request()
        hooks.on_stop.append(callback)
        if self.server.stopping:
            self.tell_of_stop()

    def tell_of_stop(self) -> None:
        """Call what the running request wants to have called when the server stops."""
        if self.hooks is not None:
            self._call_hooks(self.hooks, self.hooks.on_stop)

    def drop_hooks(self) -> None:
        """Call nobody any more."""
        self.hooks = None
        self.server.unwatch_client(self)

    def _hooks_of_request(self) -> Hooks:
        if self.response is None:
            raise RuntimeError("the request is over: there is nothing to be told any more")
        if self.hooks is None or self.hooks.request is not self.response:
            self.hooks = Hooks(self.response)
        return self.hooks

    def _call_hooks(self, hooks: Hooks, callbacks: list[Callable[[], Any]]) -> None:
        if hooks.request is self.response:
            while callbacks:
                self.server.call_hook(callbacks.pop(0))
