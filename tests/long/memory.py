"""A million requests, connections and green threads by the hundred thousand: memory stays flat."""

from __future__ import annotations

import argparse
import gc
import resource
import socket
import struct
import time
from pathlib import Path

import greenserve
from tests.long.server import Server, run_server

# Requests that are sent at once before their answers are read.
PIPELINE = 50
REQUEST = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Request-Number: %012d\r\n\r\n"

# The first tenth of the work fills every cache; after it, this much may be the allocator's.
MAX_GROWTH_KIB = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many requests (default: a million)")
    parser.add_argument("--connections", type=int, default=100_000, help="how many connections (default: 100,000)")
    parser.add_argument("--spawned", type=int, default=100_000, help="green threads in a round (default: 100,000)")


def run(arguments: argparse.Namespace) -> dict[str, str]:
    requests, request_growth, rate = _measure_requests(arguments.requests)
    connection_growth = _measure_connections(arguments.connections)
    spawn_growth = _measure_spawning(arguments.spawned, rounds=11)
    figures = {
        "requests": f"{requests:,} at {rate:,.0f}/s, each with a field of its own",
        "memory grown after the first tenth of them": f"{request_growth} KiB",
        "connections": f"{arguments.connections:,}, one after the other, each with a request",
        "memory grown after the first tenth of these": f"{connection_growth} KiB",
        "green threads": f"10 rounds of {arguments.spawned:,}, spawned and joined",
        "most memory grown after the first round": f"{spawn_growth} KiB",
    }
    assert request_growth <= MAX_GROWTH_KIB, figures
    assert connection_growth <= MAX_GROWTH_KIB, figures
    assert spawn_growth <= MAX_GROWTH_KIB, figures
    return figures


def _measure_requests(count: int) -> tuple[int, int, float]:
    """Return how many requests were answered, the server's growth in KiB after the first tenth, requests per second."""
    with run_server() as server:
        _send_requests(server, 0, count // 10)
        before = server.memory()
        began = time.monotonic()
        last = _send_requests(server, count // 10, count)
        seconds = time.monotonic() - began
        return last, server.memory() - before, (last - count // 10) / seconds


def _send_requests(server: Server, first: int, end: int) -> int:
    """Send numbered requests on one connection and check that each is answered. Return the number after the last."""
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=60) as connection, connection.makefile("rb") as answers:
        for start in range(first, end, PIPELINE):
            connection.sendall(b"".join(REQUEST % number for number in range(start, start + PIPELINE)))
            for _ in range(PIPELINE):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(5) == b"hello"
    return start + PIPELINE


def _measure_connections(count: int) -> int:
    """Return by how many KiB the server grew after the first tenth of the connections."""
    with run_server() as server:
        _open_connections(server, count // 10)
        before = server.memory()
        _open_connections(server, count - count // 10)
        return server.memory() - before


def _open_connections(server: Server, count: int) -> None:
    for number in range(count):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(REQUEST % number)
            data = b""
            while not data.endswith(b"\r\n\r\nhello"):
                part = connection.recv(4096)
                assert part, f"connection {number} ended after {data!r}"
                data += part
            # A close with a reset: no port stays behind in TIME_WAIT.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _measure_spawning(count: int, rounds: int) -> int:
    """Return by how many KiB this process grew from the first round to the last, at its largest.

    What is left after a round is no measure: how many pages the allocator can give back differs from round to round.
    """
    sizes = []
    for _ in range(rounds):
        threads = [greenserve.spawn(abs, -number) for number in range(count)]
        assert sum(thread.wait() for thread in threads) == count * (count - 1) // 2
        sizes.append(_own_memory())
        del threads
        gc.collect()
    return sizes[-1] - sizes[0]


def _own_memory() -> int:
    """Return this process's resident memory, in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
