"""What a statsd receives: gunicorn's names, sums since the last time, datagrams that fit."""

from __future__ import annotations

import re
import socket

import pytest

from greenserve._kinds import TcpAddress, UnixAddress
from greenserve._originals import base_socket
from greenserve.metrics.board import Figures
from greenserve.metrics.statsd import Statsd, StatsdError


@pytest.fixture
def receiver():
    sock = base_socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(10)
    yield sock
    sock.close()


def sender(receiver, prefix=None, tags=()):
    return Statsd(TcpAddress("127.0.0.1", receiver.getsockname()[1]), prefix, tags)


def worker(requests=0, *, buckets=None, backlog=-1.0, failed=0):
    figures = Figures()
    figures.by_status[200] = float(requests)
    figures.counters["failed"] = float(failed)
    figures.gauges["backlog"] = backlog
    for index, number in (buckets or {}).items():
        figures.buckets[index] = float(number)
    return figures


def test_counters_are_sent_as_what_was_added(receiver):
    statsd = sender(receiver)
    statsd.send(worker(5, buckets={0: 5}, failed=1, backlog=3.0))
    assert receiver.recv(2000).decode().splitlines() == [
        "gunicorn.request.status.200:5|c",
        "gunicorn.requests:5|c",
        "gunicorn.request.duration:0.05|ms|@0.2",
        "gunicorn.log.exception:1|c",
        "gunicorn.backlog:3|g",
    ]
    statsd.send(worker(6, buckets={0: 5, 6: 1}, failed=1))
    assert receiver.recv(2000).decode().splitlines() == [
        "gunicorn.request.status.200:1|c",
        "gunicorn.requests:1|c",
        "gunicorn.request.duration:7.5|ms",
    ]
    statsd.close()


def test_a_prefix_and_tags_are_put_around_the_name(receiver):
    statsd = sender(receiver, "shop.", ("env:live", "zone:a"))
    statsd.send_workers(4)
    assert receiver.recv(2000) == b"shop.gunicorn.workers:4|g|#env:live,zone:a"
    statsd.close()


def test_no_datagram_is_larger_than_a_frame(receiver):
    statsd = sender(receiver, "a" * 100)
    figures = worker()
    for status in range(200, 300):
        figures.by_status[status] = 1.0
    statsd.send(figures)
    lines = []
    while len(lines) < 101:
        datagram = receiver.recv(65536)
        assert len(datagram) <= 1432
        lines += datagram.decode().splitlines()
    assert all(re.fullmatch(r"a{100}\.gunicorn\.[a-z0-9.]+:\d+\|c", line) for line in lines)
    statsd.close()


def test_where_nobody_listens_nothing_happens(receiver):
    statsd = sender(receiver)
    receiver.close()
    for number in range(3):
        statsd.send(worker(number + 1))
    statsd.close()


def test_a_unix_socket_receives_too(tmp_path):
    sock = base_socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "statsd"))
    sock.settimeout(10)
    try:
        statsd = Statsd(UnixAddress(str(tmp_path / "statsd")), None, ())
        statsd.send_workers(1)
        assert sock.recv(100) == b"gunicorn.workers:1|g"
        statsd.close()
    finally:
        sock.close()


def test_a_host_that_does_not_exist_is_told():
    with pytest.raises(StatsdError, match=r"statsd_host = 'no host:1': "):
        Statsd(TcpAddress("no host", 1), None, ())
