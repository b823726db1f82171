from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clients.attacks import Tally, mutate
from benchmarks.clients.fleet import Fleet
from benchmarks.clients.lines import paced
from benchmarks.clients.probe import Probe
from benchmarks.clients.sockets import abort
from benchmarks.errors import BenchmarkError
from benchmarks.rawhttp import browser_request, minimal_request

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(*answers):
    """A server that gives ``answers`` on each connection, one a request, and closes it at the next request."""
    threads = []

    def serve():
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=converse, args=(conn,)))
            threads[-1].start()

    def converse(conn):
        conn.settimeout(5)
        with conn:
            try:
                for answer in answers:
                    if not conn.recv(1000):
                        return
                    conn.sendall(answer)
                conn.recv(1000)
            except ConnectionError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(5)


@given(st.integers(), st.binary(min_size=1, max_size=300))
def test_mutation_is_a_function_of_the_seed(seed, data):
    assert mutate(random.Random(seed), data) == mutate(random.Random(seed), data)


def test_mutations_of_one_request_differ_and_mostly_change_it():
    rng = random.Random(1)
    request = browser_request(80)
    mutations = {mutate(rng, request) for _ in range(100)}
    assert len(mutations) > 90
    assert request not in mutations or len(mutations) > 95


def test_paced_yields_all_numbers_at_no_more_than_the_rate():
    start = time.monotonic()
    assert list(paced(11, 1000)) == list(range(11))
    assert time.monotonic() - start >= 0.01


def test_tally_counts_statuses_and_closed_connections():
    tally = Tally()
    ours, peer = socket.socketpair()
    with ours:
        ours.setblocking(False)
        assert tally.look(ours)
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert tally.look(ours)
        assert not tally.look(ours)
    assert tally.statuses == {"400": 1}
    assert tally.closed == 1


def test_abort_resets_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(5)
            abort(sock)
            with pytest.raises(ConnectionResetError):
                conn.recv(1)


def test_fleet_holds_connections_and_asks_on_each():
    with answering(ANSWER, ANSWER) as port, closing(Fleet(port)) as fleet:
        fleet.open(5, minimal_request(port))
        assert 0 <= fleet.ask_all(minimal_request(port)) < 5


def test_fleet_notices_a_server_that_does_not_hold_its_connections():
    with answering(ANSWER) as port, closing(Fleet(port)) as fleet:
        fleet.open(5, minimal_request(port))
        with pytest.raises(BenchmarkError, match="kept connection"):
            fleet.ask_all(minimal_request(port))


def test_fleet_notices_a_wrong_status():
    refusal = ANSWER.replace(b"200 OK", b"503 No")
    with answering(refusal) as port, closing(Fleet(port)) as fleet, pytest.raises(BenchmarkError, match="wrong answer"):
        fleet.open(1, minimal_request(port))


def test_probe_times_each_kind_of_request_from_when_it_was_due():
    with answering(ANSWER, ANSWER) as port, closing(Probe(port)) as probe:
        probe.ask("kept", time.monotonic() - 10)
        probe.ask("new", time.monotonic())
    assert 10_000 <= probe.milliseconds["kept"][0] < 15_000
    assert probe.milliseconds["new"][0] < 5_000
    assert probe.failed == {"kept": 0, "new": 0}


def test_probe_counts_a_failed_request_and_opens_the_kept_connection_anew():
    with answering(ANSWER) as port, closing(Probe(port)) as probe:
        count = len(probe.connections)
        for _ in range(count * 2):
            probe.ask("kept", time.monotonic())
    assert probe.failed == {"kept": count, "new": 0}
    assert len(probe.milliseconds["kept"]) == count
