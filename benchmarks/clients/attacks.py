"""Clients as a server in the open meets them: ``python -m benchmarks.clients.attacks ATTACK PORT COUNT``.

Each attack reports once when its load is there, and once more at its end: what it was answered, by status, and how
many connections the server closed or refused. An attack that holds ends when told; one that passes ends by itself,
and goes at a steady rate, so that a faster server does not meet more of it.

All of it is bounded, and goes to 127.0.0.1 only.
"""

from __future__ import annotations

import argparse
import collections
import random
import socket
from collections.abc import Callable, Iterator

from benchmarks.clients.lines import is_told, paced, report, wait_told
from benchmarks.clients.sockets import abort
from benchmarks.machine import raise_file_limit
from benchmarks.rawhttp import browser_request, minimal_request

__all__ = ["ATTACKS", "mutate"]

# Connections a second.
OPENING_RATE = 2_000
PASSING_RATE = 500
# How many connections of a passing attack are open at one time, so that each lasts 0.2 s.
PASSING_AT_ONCE = 100
SMALL_BUFFER = 4096
ETHERNET_SEGMENT = 1460
CONNECT_TIMEOUT = 10.0
SEED = 20_240_901  # the same bytes for every server, in every run


class Tally:
    """What an attack was answered: responses by status, connections that the server closed, and those it refused."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[str] = collections.Counter()
        self.closed = 0
        self.refused = 0

    def look(self, sock: socket.socket) -> bool:
        """Take what has come on a non-blocking socket, and return whether the connection is still open."""
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if data.startswith(b"HTTP/1."):
            self.statuses[data[9:12].decode("latin-1")] += 1
        elif not data:
            self.closed += 1
        return bool(data)


def idle(port: int, count: int, tally: Tally) -> None:
    """Connections that never say anything."""
    _hold([sock for _, sock in _connections(port, count, OPENING_RATE, tally)], tally)


def trickle(port: int, count: int, tally: Tally) -> None:
    """Connections that send a head a byte a second, without end."""
    waiting = [sock for _, sock in _connections(port, count, OPENING_RATE, tally)]
    head = minimal_request(port)[:-2] + b"X-Slow: "
    report(in_place=len(waiting))
    sent = 0
    while waiting and not is_told():
        byte = head[sent : sent + 1] or b"x"
        for number in paced(len(waiting), len(waiting)):
            _send(waiting[number], byte)
        sent += 1
        waiting = [sock for sock in waiting if tally.look(sock)]
    wait_told()


def not_reading(port: int, count: int, tally: Tally) -> None:
    """Connections that ask for 5 MB and read none of it."""
    _hold(_ask_each(port, count, minimal_request(port, "/large"), tally), tally)


def mutated(port: int, count: int, tally: Tally) -> None:
    """Connections that send a request with some of its bytes changed."""
    rng = random.Random(SEED)
    requests = _valid_requests(port)
    _pass(port, count, lambda number: mutate(rng, requests[number % len(requests)]), tally)


def resets(port: int, count: int, tally: Tally) -> None:
    """Connections that are reset in the middle of a request's head, of its body, or of the response, in turn."""
    upload = b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
    parts = (browser_request(port)[:300], upload, minimal_request(port, "/large"))
    _pass(port, count, lambda number: parts[number % len(parts)], tally)


def crowd(port: int, count: int, tally: Tally) -> None:
    """Connections, each with a request, that stay open: more than the server has files for."""
    _hold(_ask_each(port, count, minimal_request(port), tally), tally)


ATTACKS: dict[str, Callable[[int, int, Tally], None]] = {
    attack.__name__: attack for attack in (idle, trickle, not_reading, mutated, resets, crowd)
}

_FRAGMENTS = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b"%", b"\xff", b"HTTP/9.9", b"A" * 9000),
    *(
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: b\r\n",
        b"\r\n 1",
    ),
)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to four changes: a byte replaced, a part lost, a part repeated, or a fragment put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(start + rng.randint(1, 20), len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed[start : start + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[start:end]
        elif kind == 2:
            changed[start:start] = changed[start:end]
        else:
            changed[start:start] = rng.choice(_FRAGMENTS)
    return bytes(changed)


def _valid_requests(port: int) -> list[bytes]:
    post = b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
    return [
        browser_request(port),
        minimal_request(port) * 3,
        post + b"Content-Length: 11\r\n\r\nhello world",
        post + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    ]


def _connections(port: int, count: int, per_second: float, tally: Tally) -> Iterator[tuple[int, socket.socket]]:
    """Open connections at a steady rate, and yield each with its number; those that fail are counted and left out."""
    for number in paced(count, per_second):
        sock = socket.socket()
        # A client that reads nothing takes in little, so that the answer stays on the server's side; and not in the
        # kernel there, which buffers 4 MB for a connection with loopback's segments. Both are agreed in connecting.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_SEGMENT)
        sock.settimeout(CONNECT_TIMEOUT)
        try:
            sock.connect(("127.0.0.1", port))
        except OSError:
            tally.refused += 1
            sock.close()
            continue
        sock.setblocking(False)
        yield number, sock


def _send(sock: socket.socket, data: bytes) -> None:
    """Send what the socket takes; an attacker does not care for the rest, or for a server that has closed."""
    try:
        sock.send(data)
    except OSError:
        pass


def _ask_each(port: int, count: int, request: bytes, tally: Tally) -> list[socket.socket]:
    sockets = []
    for _, sock in _connections(port, count, OPENING_RATE, tally):
        _send(sock, request)
        sockets.append(sock)
    return sockets


def _hold(sockets: list[socket.socket], tally: Tally) -> None:
    report(in_place=len(sockets))
    wait_told()
    for sock in sockets:
        _end(sock, tally)


def _pass(port: int, count: int, payload: Callable[[int], bytes], tally: Tally) -> None:
    """Open connections at the passing rate, send each the payload of its number, and abort it a little later."""
    report(in_place=0)
    under_way: collections.deque[socket.socket] = collections.deque()
    for number, sock in _connections(port, count, PASSING_RATE, tally):
        _send(sock, payload(number))
        under_way.append(sock)
        if len(under_way) > PASSING_AT_ONCE:
            _end(under_way.popleft(), tally)
        if is_told():
            break
    for sock in under_way:
        _end(sock, tally)


def _end(sock: socket.socket, tally: Tally) -> None:
    tally.look(sock)
    abort(sock)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    raise_file_limit()
    tally = Tally()
    ATTACKS[options.attack](options.port, options.count, tally)
    report(statuses=tally.statuses, closed=tally.closed, refused=tally.refused)


if __name__ == "__main__":
    main()
