"""The ordinary user beside the load: a request every 5 ms, on a kept connection and on a new one in turn, each timed.

A request's time runs from the moment it was due, so that a server which stalls is charged for the requests that could
not be made meanwhile. It is ready when it has reported once; it measures from one word on stdin to the next.
"""

from __future__ import annotations

import argparse
import collections
import socket
import time

from benchmarks.clients.lines import is_told, report, wait_told
from benchmarks.errors import BenchmarkError
from benchmarks.rawhttp import exchange, minimal_request

INTERVAL = 0.005
KEPT_CONNECTIONS = 8
# Seconds after which a request counts as failed.
REQUEST_TIMEOUT = 5.0


class Probe:
    """Requests to one port of 127.0.0.1, and what became of them, by kind: ``kept`` or ``new`` connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._request = minimal_request(port)
        # None stands for a connection that failed: the next request in its place opens it anew.
        self.connections: collections.deque[socket.socket | None] = collections.deque([None] * KEPT_CONNECTIONS)
        for _ in range(KEPT_CONNECTIONS):
            self._ask_kept()
        self.milliseconds: dict[str, list[float]] = {"kept": [], "new": []}
        self.failed = {"kept": 0, "new": 0}

    def ask(self, kind: str, due: float) -> None:
        """Make one request that was due at ``due``, in monotonic seconds."""
        ask = self._ask_kept if kind == "kept" else self._ask_new
        try:
            ask()
        except (OSError, BenchmarkError):
            self.failed[kind] += 1
        else:
            self.milliseconds[kind].append((time.monotonic() - due) * 1000)

    def close(self) -> None:
        """Close the kept connections."""
        for sock in self.connections:
            if sock is not None:
                sock.close()

    def _ask_kept(self) -> None:
        sock = self.connections.popleft()
        kept = None
        try:
            sock = sock or self._connect()
            self._exchange(sock)
            kept = sock
        finally:
            self.connections.append(kept)
            if sock is not None and kept is None:
                sock.close()

    def _ask_new(self) -> None:
        with self._connect() as sock:
            self._exchange(sock)

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=REQUEST_TIMEOUT)

    def _exchange(self, sock: socket.socket) -> None:
        response = exchange(sock, self._request)
        if response.status != 200:
            raise BenchmarkError(f"status {response.status}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("kinds", nargs="+", choices=["kept", "new"], help="in turn")
    options = parser.parse_args()
    probe = Probe(options.port)
    report(ready=True)
    wait_told()  # the word to start
    start = time.monotonic()
    number = 0
    while not is_told():
        due = start + number * INTERVAL
        time.sleep(max(due - time.monotonic(), 0))
        probe.ask(options.kinds[number % len(options.kinds)], due)
        number += 1
    probe.close()
    report(milliseconds=probe.milliseconds, failed=probe.failed)


if __name__ == "__main__":
    main()
