"""Does one kind of thing over TLS so many times, on several connections at once, and reports how long it took.

``handshake`` is a new connection and a small request, ``kept`` a small request on a connection from before,
``download`` and ``upload`` are 5 MB, likewise. Blocking sockets in threads: most of the time they are in OpenSSL, which
lets the others run.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.apps.routes import LARGE_BODY_BYTES
from benchmarks.clients.lines import report, wait_told
from benchmarks.errors import BenchmarkError
from benchmarks.rawhttp import head_and_length, minimal_request

TIMEOUT = 30.0


class Client:
    """One connection after the other to one port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whom it talks to is no secret here; to check a certificate costs only the client.
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._buffer = bytearray(65536)
        self._small = minimal_request(port)
        self._large = minimal_request(port, "/large")
        fields = f"Host: 127.0.0.1:{port}\r\nContent-Length: {LARGE_BODY_BYTES}\r\n\r\n"
        self._upload = f"POST /upload HTTP/1.1\r\n{fields}".encode() + bytes(LARGE_BODY_BYTES)
        self._sock = self._connect()

    def handshake(self) -> None:
        """Connect anew, and ask."""
        self._sock.close()
        self._sock = self._connect()
        self.kept()

    def kept(self) -> None:
        """Ask."""
        self._exchange(self._small)

    def download(self) -> None:
        """Ask for 5 MB."""
        if self._exchange(self._large) < LARGE_BODY_BYTES:
            raise BenchmarkError("the answer is not as long as it should be")

    def upload(self) -> None:
        """Send 5 MB."""
        self._exchange(self._upload)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _connect(self) -> ssl.SSLSocket:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(sock)

    def _exchange(self, request: bytes) -> int:
        """Send a request, and return how many bytes its answer has."""
        self._sock.sendall(request)
        data = b""
        while (found := head_and_length(data)) is None:
            received = self._receive()
            data += self._buffer[:received]
        head, length = found
        if b" 200 " not in head[:16]:
            raise BenchmarkError(f"wrong answer: {head[:200]!r}")
        left = length - len(data)
        while left > 0:
            left -= self._receive()
        return length

    def _receive(self) -> int:
        received = self._sock.recv_into(self._buffer)
        if not received:
            raise BenchmarkError("the server closed a kept connection")
        return received


KINDS: dict[str, Callable[[Client], None]] = {
    "handshake": Client.handshake,
    "kept": Client.kept,
    "download": Client.download,
    "upload": Client.upload,
}


def repeat(client: Client, act: Callable[[Client], None], numbers: itertools.count[int], count: int) -> None:
    """Do it until all clients together have done it ``count`` times."""
    while next(numbers) < count:
        act(client)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=int)
    parser.add_argument("connections", type=int)
    options = parser.parse_args()
    clients = [Client(options.port) for _ in range(options.connections)]
    act = KINDS[options.kind]
    for client in clients:
        act(client)  # what the first one loads and caches is no part of what the others cost
    report(ready=True)
    wait_told()
    numbers = itertools.count()
    start = time.monotonic()
    with ThreadPoolExecutor(options.connections) as pool:
        for done in [pool.submit(repeat, client, act, numbers, options.count) for client in clients]:
            done.result()
    report(seconds=time.monotonic() - start)
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
