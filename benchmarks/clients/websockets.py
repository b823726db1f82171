"""Holds WebSocket connections in one epoll loop: each has a message under way, or all wait for one that goes to all.

``echo`` sends a message on each connection again and again as it comes back, for so many seconds when told to. ``hold``
opens connections and waits; then one message goes to everybody.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import struct
import time
import zlib

from benchmarks.clients.lines import report, wait_told
from benchmarks.clients.sockets import abort
from benchmarks.errors import BenchmarkError
from benchmarks.machine import raise_file_limit

TIMEOUT = 30.0
OPENING_AT_ONCE = 64
MASK = b"\x12\x34\x56\x78"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def head(size: int, masked: int, first: int = 0x81) -> bytes:
    """The head of a text frame, without its mask."""
    if size < 126:
        return struct.pack("!BB", first, masked | size)
    if size < 65536:
        return struct.pack("!BBH", first, masked | 126, size)
    return struct.pack("!BBQ", first, masked | 127, size)


def client_frame(payload: bytes, deflate: bool = False) -> bytes:
    """A text message as a client sends it; a compressed one must be the first of its connection."""
    first = 0x81
    if deflate:
        compressor = zlib.compressobj(wbits=-9)
        payload, first = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1
    mask = int.from_bytes((MASK * (len(payload) // 4 + 1))[: len(payload)], "big")
    masked = (int.from_bytes(payload, "big") ^ mask).to_bytes(len(payload), "big")
    return head(len(payload), 0x80, first) + MASK + masked


class Crowd:
    """Connections to one port of 127.0.0.1, behind their handshakes."""

    def __init__(self, port: int, deflate: bool) -> None:
        self._port = port
        self._request = (
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"{DEFLATE if deflate else ''}\r\n"
        ).encode()
        self._epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self._buffer = memoryview(bytearray(1 << 18))

    def open(self, count: int) -> None:
        """Open ``count`` connections, some at a time."""
        while len(self.sockets) < count:
            fresh = [self._connect() for _ in range(min(OPENING_AT_ONCE, count - len(self.sockets)))]
            for sock in fresh:
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    block = sock.recv(1000)
                    if not block:
                        raise BenchmarkError(f"no WebSocket: {answer[:200]!r}")
                    answer += block
                if b" 101 " not in answer[:16]:
                    raise BenchmarkError(f"no WebSocket: {answer[:200]!r}")
                sock.setblocking(False)
                self._epoll.register(sock.fileno(), select.EPOLLIN)
                self.sockets[sock.fileno()] = sock

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(self._request)
        return sock

    def exchange(self, message: bytes, answer: int, seconds: float) -> int:
        """Send ``message`` on each, and again when ``answer`` bytes have come back. Returns how often that was."""
        left = dict.fromkeys(self.sockets, answer)
        unsent: dict[int, bytes] = {}
        for fd in self.sockets:
            self._send(fd, message, unsent)
        done = 0
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for fd, events in self._epoll.poll(end - now):
                if events & select.EPOLLOUT:
                    self._send(fd, unsent.pop(fd), unsent)
                if events & ~select.EPOLLOUT:
                    left[fd] -= self._receive(fd)
                    if left[fd] < 0:
                        raise BenchmarkError("the answer is longer than it should be")
                    if left[fd] == 0:
                        done += 1
                        left[fd] = answer
                        self._send(fd, message, unsent)
        return done

    def collect(self) -> None:
        """Wait until a message has come on each. It is short, so that it comes in one piece."""
        left = set(self.sockets)
        deadline = time.monotonic() + TIMEOUT
        while left:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{len(left)} of {len(self.sockets)} connections got no message")
            for fd, _ in self._epoll.poll(1):
                if self._receive(fd):
                    left.discard(fd)

    def _send(self, fd: int, data: bytes, unsent: dict[int, bytes]) -> None:
        try:
            sent = self.sockets[fd].send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            unsent[fd] = data[sent:]
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)
        elif len(data) > 1 << 15:  # only a long one can have been cut
            self._epoll.modify(fd, select.EPOLLIN)

    def _receive(self, fd: int) -> int:
        try:
            received = self.sockets[fd].recv_into(self._buffer)
        except BlockingIOError:
            return 0
        if not received:
            raise BenchmarkError("the server closed a connection")
        return received

    def close(self) -> None:
        """Abort all connections, which leaves no port in TIME_WAIT."""
        for sock in self.sockets.values():
            abort(sock)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("kind", choices=("echo", "hold"))
    parser.add_argument("count", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    raise_file_limit()
    crowd = Crowd(options.port, options.deflate)
    crowd.open(options.count)
    message = client_frame(b"x" * options.size)
    answer = len(head(options.size, 0)) + options.size
    if options.kind == "echo":
        crowd.exchange(message, answer, 0.5)
        # What is still under way belongs to the warm-up.
        crowd.close()
        crowd = Crowd(options.port, options.deflate)
        crowd.open(options.count)
        report(ready=True)
        wait_told()
        start = time.monotonic()
        done = crowd.exchange(message, answer, options.seconds)
        report(messages=done, seconds=time.monotonic() - start)
    else:
        hold(crowd, client_frame(os.urandom(options.size // 2).hex().encode(), options.deflate))
    crowd.close()


def hold(crowd: Crowd, message: bytes) -> None:
    """One message each, a wait, and one message to all."""
    for sock in crowd.sockets.values():
        sock.send(message)
    crowd.collect()
    time.sleep(0.5)
    report(ready=True)
    wait_told()
    to_all = client_frame(b"!" + os.urandom(8).hex().encode())
    start = time.monotonic()
    next(iter(crowd.sockets.values())).send(to_all)
    crowd.collect()
    report(seconds=time.monotonic() - start)


if __name__ == "__main__":
    main()
