"""A relay between clients and a server that keeps what the clients send, byte for byte: what was really on the wire.

Knows no greenserve.http: it takes the requests apart by itself, and only requests that are well formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import greenserve
from greenserve import GreenSocket

_LENGTH = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding: *chunked", re.IGNORECASE)


class Request(NamedTuple):
    """One request's head as it was sent."""

    target: str
    fields: list[tuple[str, str]]  # latin-1, without the whitespace around a value


class Relay:
    """Listens, and passes on what it gets to ``target``.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = greenserve.listen(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._received: list[bytearray] = []  # of each connection
        self._sockets: list[GreenSocket] = []
        self._server = greenserve.spawn(greenserve.serve, self._listener, self._relay)

    def _relay(self, client: GreenSocket, _: Any) -> None:
        received = bytearray()
        self._received.append(received)
        with greenserve.connect(self._target) as server:
            self._sockets += client, server
            answers = greenserve.spawn(_copy, server, client, bytearray())
            _copy(client, server, received)
            answers.wait()

    def requests(self) -> list[Request]:
        """Return all requests so far, connection by connection."""
        return [request for received in self._received for request in split_requests(bytes(received))]

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()
        self._server.wait()


def _copy(source: GreenSocket, target: GreenSocket, record: bytearray) -> None:
    """Pass bytes on until the source ends, or either is closed."""
    try:
        while data := source.recv(65536):
            record += data
            target.sendall(data)
        target.shutdown_write()
    except OSError:
        source.close()
        target.close()


def split_requests(data: bytes) -> Iterator[Request]:
    """Yield the requests that were sent one after the other, without their bodies."""
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"a head without end: {head!r}"
        if length := _LENGTH.search(head):
            data = data[int(length[1]) :]
        elif _CHUNKED.search(head):
            data = data.partition(b"0\r\n\r\n")[2]
        request_line, *lines = head.decode("latin-1").split("\r\n")
        fields = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
        yield Request(request_line.split(" ")[1], fields)


@contextmanager
def relaying(target: tuple[str, int]) -> Iterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
