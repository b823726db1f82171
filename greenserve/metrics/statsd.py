"""Figures for statsd, under gunicorn's names, in datagrams that nobody waits for. Knows the protocol and no server.

gunicorn sends a few datagrams for each request. Here each worker sends what has added up since the last time, about
once a second, in as few datagrams as that fits into: counters as sums, and of the times of requests one value for each
bucket of the histogram, with the rate that says how many requests it stands for.

Source: the statsd protocol (``name:value|type|@rate``), and DogStatsD's ``|#tags`` behind it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from typing import Any

from greenserve._kinds import TcpAddress, UnixAddress
from greenserve._originals import base_socket, getaddrinfo
from greenserve.errors import GreenserveError
from greenserve.metrics.board import Figures
from greenserve.wsgi.meter import BOUNDS

__all__ = ["Statsd", "StatsdError"]

# What fits into one frame of an Ethernet beside the heads of IP and UDP.
_DATAGRAM_BYTES = 1432


class StatsdError(GreenserveError):
    """There is no such receiver."""


class Statsd:
    """Sends one worker's figures.

    Args:
        receiver: Where to.
        prefix: What all names begin with, or None.
        tags: DogStatsD's, such as ``env:live``.
    """

    def __init__(self, receiver: TcpAddress | UnixAddress, prefix: str | None, tags: Sequence[str]) -> None:
        self._prefix = f"{prefix.rstrip('.')}." if prefix else ""
        self._tags = f"|#{','.join(tags)}" if tags else ""
        self._last: Figures | None = None
        if isinstance(receiver, UnixAddress):
            self._socket = base_socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._address: Any = receiver.path
        else:
            try:
                found = getaddrinfo(receiver.host or "localhost", receiver.port, type=socket.SOCK_DGRAM)
            except OSError as exc:
                raise StatsdError(f"statsd_host = {str(receiver)!r}: {exc.strerror}") from exc
            family, _, _, _, self._address = found[0]
            self._socket = base_socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, figures: Figures) -> None:
        """Send what has changed since the last time. Never waits, and what can't be sent is lost, as with UDP."""
        last, self._last = self._last, figures
        datagram = b""
        for line in self._lines(figures, last or Figures()):
            if datagram and len(datagram) + 1 + len(line) > _DATAGRAM_BYTES:
                self._send(datagram)
                datagram = b""
            datagram += b"\n" + line if datagram else line
        if datagram:
            self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._address)
        except OSError:
            # Nobody listens, or the buffer is full. To log it once a second would help nobody.
            return

    def _lines(self, figures: Figures, last: Figures) -> Iterator[bytes]:
        requests = 0
        for status, (now, before) in enumerate(zip(figures.by_status, last.by_status)):
            count = int(now - before)
            requests += count
            if count and status:
                yield self._line(f"gunicorn.request.status.{status}", count, "c")
        if requests:
            yield self._line("gunicorn.requests", requests, "c")
        lower = 0.0
        for upper, now, before in zip([*BOUNDS, BOUNDS[-1]], figures.buckets, last.buckets):
            count = int(now - before)
            if count:
                middle = (lower + upper) * 500  # in milliseconds
                rate = f"|@{1 / count:.6g}" if count > 1 else ""
                yield self._line("gunicorn.request.duration", round(middle, 3), f"ms{rate}")
            lower = upper
        if failed := int(figures.counters["failed"] - last.counters["failed"]):
            yield self._line("gunicorn.log.exception", failed, "c")
        if figures.gauges["backlog"] >= 0:
            yield self._line("gunicorn.backlog", int(figures.gauges["backlog"]), "g")

    def _line(self, name: str, value: float, kind: str) -> bytes:
        return f"{self._prefix}{name}:{value}|{kind}{self._tags}".encode()

    def send_workers(self, count: int) -> None:
        """Send how many workers there are. For who starts them."""
        self._send(self._line("gunicorn.workers", count, "g"))

    def close(self) -> None:
        """Send no more."""
        self._socket.close()
