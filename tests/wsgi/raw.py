"""A client that sends the bytes it is told to, and reads answers by the letter. Knows nothing of the server's code."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import greenserve
from greenserve import wsgi
from greenserve.wsgi import Server

DEADLINE = 10.0


class Answer:
    """One response: code, fields with names in lower case, body."""

    def __init__(self, status_line: bytes, fields: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status_line = status_line
        self.code = int(status_line.split(b" ")[1])
        self.raw_fields = fields
        self.fields = {name.lower().decode(): value.decode("latin-1") for name, value in fields}
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status_line!r} {self.fields} {self.body[:60]!r}>"


class Connected:
    """The client's end of a connection."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.sock.settimeout(DEADLINE)
        self.file = sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def is_closed(self) -> bool:
        """Whether the server has ended the connection with nothing more to read. Waits for it."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class Client(Connected):
    """A connection to a server in this process, over which HTTP is spoken."""

    def __init__(self, address: Any) -> None:
        super().__init__(greenserve.connect(address))
        if self.sock.family in (socket.AF_INET, socket.AF_INET6):
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent in pieces arrives so

    def read_head(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        status_line = self.file.readline()
        if not status_line:
            raise EOFError("the server closed the connection")
        fields = []
        while (line := self.file.readline()) != b"\r\n":
            if not line:
                raise EOFError("the head ended early")
            name, _, value = line.partition(b":")
            fields.append((name, value.strip()))
        return status_line.rstrip(b"\r\n"), fields

    def read(self, method: str = "GET") -> Answer:
        """Read one whole response. Raises EOFError when it is cut off."""
        status_line, fields = self.read_head()
        known = {name.lower(): value for name, value in fields}
        code = int(status_line.split(b" ")[1])
        if method == "HEAD" or code in (204, 304) or code < 200:
            body = b""
        elif known.get(b"transfer-encoding") == b"chunked":
            body = self.read_chunked()
        elif b"content-length" in known:
            length = int(known[b"content-length"])
            body = self.file.read(length)
            if len(body) < length:
                raise EOFError("the body ended early")
        else:
            body = self.file.read()
        return Answer(status_line, fields, body)

    def read_chunk(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("no chunk header")
        size = int(line, 16)
        data = self.file.read(size + 2)
        if len(data) < size + 2:
            raise EOFError("the chunk ended early")
        return data[:-2]

    def read_chunked(self) -> bytes:
        parts = []
        while part := self.read_chunk():
            parts.append(part)
        return b"".join(parts)

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        self.send(data)
        return self.read(method)

    def send_end(self) -> None:
        """Say that nothing more will come, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def read_rest(self) -> bytes:
        """Everything up to the end of the connection, an orderly one."""
        return self.file.read()

    def reset(self) -> None:
        """Leave without a good-bye."""
        self.file.close()
        self.sock.abort()


class Running:
    """A server in green threads of this process, and its clients."""

    def __init__(self, server: Server, address: Any) -> None:
        self.server = server
        self.address = address
        self.clients: list[Client] = []

    def connect(self) -> Client:
        client = Client(self.address)
        self.clients.append(client)
        return client

    def ask(self, data: bytes, method: str = "GET") -> Answer:
        return self.connect().ask(data, method)


def stream_of(blocks: greenserve.Queue[bytes | None]) -> Callable[..., Iterator[bytes]]:
    """An app whose answer is what it gets from the queue, up to None."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        while (block := blocks.get()) is not None:
            yield block

    return app


@contextmanager
def running(app: Callable[..., Any], listener: Any = None, **keywords: Any) -> Iterator[Running]:
    """A `Server` for ``app``, with its keywords."""
    listener = listener or greenserve.listen(("127.0.0.1", 0))
    run = Running(Server(listener, app, **keywords), listener.getsockname())
    run.server.start()
    try:
        yield run
    finally:
        for client in run.clients:
            client.close()
        run.server.stop(0)
        run.server.join()


@contextmanager
def serving(app: Callable[..., Any], listener: Any = None, **keywords: Any) -> Iterator[Running]:
    """The function `wsgi.server` for ``app``, with its keywords."""
    listener = listener or greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    started: greenserve.Event[Server] = greenserve.Event()
    thread = greenserve.spawn(wsgi.server, listener, app, server_event=started, **keywords)
    run = Running(started.wait(), address)
    try:
        yield run
    finally:
        for client in run.clients:
            client.close()
        run.server.stop(0)
        thread.wait()


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "HTTP/1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} {version}", "Host: test", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
