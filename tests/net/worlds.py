"""Two worlds with the same interface: standard sockets in native threads, and green sockets in green threads."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from greenserve import spawn
from greenserve.net import GreenSocket, create_connection, fromfd, socketpair
from tests.sync.threads import OSThread

BIG = bytes(range(256)) * 8000  # 2 MB: several times what a socket's buffers hold


class World:
    """Makes sockets of one kind, and closes them all in the end."""

    make: Callable[..., Any]
    make_pair: Callable[..., Any]
    create_connection: Callable[..., Any]
    fromfd: Callable[..., Any]

    def __init__(self) -> None:
        self._made: list[Any] = []

    def keep(self, sock: Any) -> Any:
        self._made.append(sock)
        return sock

    def new(self, *args: Any, **kwargs: Any) -> Any:
        return self.keep(self.make(*args, **kwargs))

    def pair(self, type: int = socket.SOCK_STREAM) -> tuple[Any, Any]:
        first, second = self.make_pair(socket.AF_UNIX, type)
        return self.keep(first), self.keep(second)

    def listener(self, family: int = socket.AF_INET, backlog: int = 10) -> Any:
        sock = self.new(family, socket.SOCK_STREAM)
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        sock.listen(backlog)
        return sock

    def tcp_pair(self, family: int = socket.AF_INET) -> tuple[Any, Any]:
        listener = self.listener(family)
        client = self.new(family, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        return client, self.keep(listener.accept()[0])

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call it beside this one. ``wait()`` on what is returned gives the result."""
        raise NotImplementedError

    def close(self) -> None:
        for sock in self._made:
            with contextlib.suppress(OSError):
                sock.close()


class Plain(World):
    make = staticmethod(socket.socket)
    make_pair = staticmethod(socket.socketpair)
    create_connection = staticmethod(socket.create_connection)
    fromfd = staticmethod(socket.fromfd)

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        return OSThread(partial(function, *args))


class Green(World):
    make = staticmethod(GreenSocket)
    make_pair = staticmethod(socketpair)
    create_connection = staticmethod(create_connection)
    fromfd = staticmethod(fromfd)

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        return spawn(function, *args)


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call returns, or the class and errno of what it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is observed
        return type(exc).__name__, getattr(exc, "errno", None)


def read_all(sock: Any, size: int = 65536) -> bytes:
    """Everything up to the end of the stream."""
    parts = []
    while part := sock.recv(size):
        parts.append(part)
    return b"".join(parts)


def read_exactly(sock: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, "the stream ended early"
        data += part
    return data


def temporary_file() -> Any:
    """A file without a name that holds ``BIG``."""
    file = open(os.open("/tmp", os.O_TMPFILE | os.O_RDWR), "w+b")  # noqa: SIM115 - the caller closes it
    file.write(BIG)
    file.flush()
    file.seek(0)
    return file


Script = Callable[[World], Any]


class Scripts(list[Script]):
    """Functions that do something with sockets and return what was observed. As a decorator it takes in another one."""

    def __call__(self, function: Script) -> Script:
        self.append(function)
        return function


def compare(script: Script) -> None:
    """Hold what a script observes of green sockets against what it observes of plain ones."""
    observed = []
    for kind in (Plain, Green):
        world = kind()
        try:
            observed.append(script(world))
        finally:
            world.close()
    plain, green = observed
    assert green == plain
    assert plain is not None
