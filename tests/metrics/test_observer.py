"""What is seen of one worker: its server's counts and connections, its hub, and the requests that run."""

from __future__ import annotations

import logging
import os
import time

import pytest

import greenserve
from greenserve.metrics.board import Board, Figures, State
from greenserve.metrics.observer import BlockReports, Observer
from greenserve.testing import wait_until_parked
from greenserve.wsgi.meter import BOUNDS
from tests.wsgi.raw import get, running


def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        proceed.wait()
    if environ["PATH_INFO"] == "/fail":
        raise ValueError
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]


proceed: greenserve.Event[None]


@pytest.fixture(autouse=True)
def _new_event():
    global proceed  # noqa: PLW0603 - the app has no other way to it
    proceed = greenserve.Event()


def observe(run, board, **keywords):
    observer = Observer(board, run.server, interval=60.0, **keywords)
    observer.start()
    return observer


def test_a_worker_takes_a_slot_and_leaves_what_it_counted(caplog):
    board = Board(slots=1)
    with running(app, log_output=False) as run:
        observer = observe(run, board)
        run.ask(get())
        run.ask(get("/fail"))
        observer.stop()
    (figures,) = board.read().values()
    assert figures.state is State.FREE
    assert figures.by_status[200] == figures.by_status[500] == 1
    assert sum(figures.buckets) == 2
    assert figures.counters["requests"] == figures.counters["accepted"] == 2
    assert figures.counters["failed"] == 1
    assert figures.counters["bytes_out"] >= 5
    assert figures.counters["cpu_seconds"] > 0


def test_the_next_worker_of_a_slot_goes_on_counting():
    board = Board(slots=1)
    for _ in range(2):
        with running(app, log_output=False) as run:
            observer = observe(run, board)
            run.ask(get())
            observer.stop()
    (figures,) = board.read().values()
    assert figures.counters["requests"] == figures.by_status[200] == 2
    assert len(figures.buckets) == len(BOUNDS) + 1
    assert sum(figures.buckets) == 2


def test_connections_are_seen_in_their_states():
    with running(app, log_output=False) as run:
        observer = observe(run, Board(slots=1))
        run.ask(get())  # idle since
        run.connect().send(get("/wait"))
        run.connect().send(b"GET / HT")
        wait_until_parked()
        figures = observer.look()
        proceed.send(None)
        observer.stop()
    gauges = figures.gauges
    assert (gauges["idle"], gauges["running"], gauges["head"], gauges["taken"]) == (1, 1, 1, 0)
    assert figures.state is State.READY


def test_the_process_and_its_hub_are_seen():
    with running(app, log_output=False) as run:
        observer = observe(run, Board(slots=1), log_dropped=lambda: 7)
        before = observer.look().gauges["green_threads"]
        threads = [greenserve.spawn(proceed.wait) for _ in range(5)]
        wait_until_parked()
        figures = observer.look()
        proceed.send(None)
        for thread in threads:
            thread.wait()
        observer.stop()
    assert figures.gauges["green_threads"] == before + 5
    assert figures.gauges["pid"] == os.getpid()
    assert figures.gauges["rss"] > 1 << 20
    assert figures.gauges["pool_size"] > 0
    assert figures.counters["log_dropped"] == 7
    assert abs(figures.gauges["started"] - time.time()) < 60


def test_a_request_that_runs_is_told_with_the_place_where_it_waits():
    with running(app, log_output=False) as run:
        observer = observe(run, Board(slots=1))
        for path in ("/wait?first", "/wait?second"):
            run.connect().send(get(path))
            wait_until_parked()
        first, second = observer.look().report["running"]
        proceed.send(None)
        observer.stop()
    assert (first["method"], first["target"], first["client"]) == ("GET", "/wait?first", "127.0.0.1")
    assert second["target"] == "/wait?second"
    assert first["seconds"] >= second["seconds"] >= 0
    assert any(line.startswith(f"{__name__}:") and line.endswith(" in app") for line in first["stack"])
    assert not any("greenserve.wsgi" in line or "greenserve.core" in line for line in first["stack"])


def test_figures_are_published_again_and_again():
    told: list[Figures] = []
    enough: greenserve.Event[None] = greenserve.Event()

    def tell(figures, meter):
        told.append(figures)
        if len(told) == 3:
            enough.send(None)

    board = Board(slots=1)
    with running(app, log_output=False) as run:
        observer = Observer(board, run.server, on_tick=tell, interval=0.02)
        observer.start()
        with greenserve.Timeout(10):
            enough.wait()
        (figures,) = board.read().values()
        assert figures.state is State.READY
        observer.stop()
    times = [each.gauges["published"] for each in told]
    assert times == sorted(set(times))


def test_a_hub_that_was_blocked_is_seen_and_told_of():
    board = Board(slots=1)
    published: greenserve.Queue[Figures] = greenserve.Queue()
    with running(app, log_output=False) as run:
        observer = Observer(board, run.server, on_tick=lambda figures, meter: published.put(figures), interval=0.02)
        observer.start()
        published.get(timeout=10)
        end = time.perf_counter() + 0.6
        while time.perf_counter() < end:
            pass
        figures = published.get(timeout=10)
        while not figures.report["blocks"]:
            figures = published.get(timeout=10)
        observer.stop()
    assert figures.gauges["lag"] >= 0.5
    assert figures.counters["blocked_seconds"] >= 0.5
    (block,) = figures.report["blocks"]
    assert block["text"].startswith("nothing else could run for 0.")


def test_what_the_watchdog_tells_is_kept_in_place_of_the_mere_fact():
    reports = BlockReports()
    reports.listen()
    try:
        logging.getLogger("greenserve.debug").warning("blocked at %s", "app.py:3")
        reports.add("nothing else could run for 0.7 s", 0.7)
    finally:
        reports.ignore()
    assert [block["text"] for block in reports.recent] == ["blocked at app.py:3"]
    logging.getLogger("greenserve.debug").warning("not listened to")
    assert len(reports.recent) == 1


def test_without_a_free_slot_a_worker_serves_unwatched():
    board = Board(slots=1)
    assert board.claim() is not None
    with running(app, log_output=False) as run:
        observer = observe(run, board)
        assert run.ask(get()).code == 200
        assert run.server.meter is None
        observer.stop()
