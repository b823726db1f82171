"""Rates and percentiles over time, from what workers write each in its own rhythm."""

from __future__ import annotations

import json

import pytest

from greenserve._originals import monotonic, wall_time
from greenserve.admin.history import POINTS, History
from greenserve.metrics.board import Board, Figures, Slot, State


class Worker:
    """A worker on a board that writes when it is told to."""

    def __init__(self, board: Board, pid: int) -> None:
        slot = board.claim()
        assert slot is not None
        self.slot: Slot = slot
        self.figures = Figures()
        self.figures.gauges |= {"pid": float(pid), "state": float(State.READY), "started": wall_time()}

    def write(self, at: float, requests: float = 0, **gauges: float) -> None:
        self.figures.gauges |= {"published": at, **gauges}
        self.figures.counters["requests"] = requests
        self.slot.write(self.figures)


def last(history: History) -> dict[str, float]:
    point: dict[str, float] = history.state()["points"][-1]
    return point


def test_a_rate_is_what_a_worker_counted_between_two_of_its_writings() -> None:
    board = Board(slots=2)
    history = History(board, dict, "app")
    worker = Worker(board, 1)
    now = monotonic()
    worker.write(now - 2, 100)
    history.sample()
    assert last(history)["requests"] == 0
    worker.write(now - 1.5, 200)  # two writings between two samples
    worker.write(now, 300)
    history.sample()
    assert last(history)["requests"] == 100
    history.sample()  # none between these
    assert last(history)["requests"] == 100


def test_rates_add_up_over_workers() -> None:
    board = Board(slots=2)
    history = History(board, dict, "app")
    now = monotonic()
    workers = [Worker(board, 1), Worker(board, 2)]
    for round_ in range(2):
        for worker in workers:
            worker.write(now - 1 + round_, 50 * round_, running=2, idle=1)
        history.sample()
    assert last(history)["requests"] == 100
    assert last(history)["running"] == 4
    assert last(history)["connections"] == 6


def test_a_worker_that_has_gone_silent_counts_nothing_and_is_told() -> None:
    board = Board(slots=1)
    history = History(board, dict, "app")
    worker = Worker(board, 7)
    worker.write(monotonic() - 100, 100)
    history.sample()
    worker.write(monotonic() - 50, 5000)
    history.sample()
    state = history.state()
    assert state["points"][-1]["requests"] == 0
    assert state["points"][-1]["lag"] == pytest.approx(50, abs=5)
    assert state["workers"][0]["silent"] == pytest.approx(50, abs=5)


def test_a_worker_that_replaces_another_in_its_slot_makes_no_jump() -> None:
    board = Board(slots=1)
    history = History(board, dict, "app")
    now = monotonic()
    first = Worker(board, 1)
    first.write(now - 1, 1000)
    history.sample()
    board.release(first.slot)
    second = Worker(board, 2)
    second.write(now, 1003)
    history.sample()
    assert last(history)["requests"] == 0
    assert [worker["pid"] for worker in history.state()["workers"]] == [2]
    assert history.state()["totals"]["requests"] == 1003


def test_percentiles_forget_what_is_older_than_their_window() -> None:
    board = Board(slots=1)
    history = History(board, dict, "app")
    worker = Worker(board, 1)
    worker.write(monotonic())
    history.sample()
    worker.figures.buckets[12] = 10.0  # up to a second
    worker.write(monotonic())
    history.sample()
    assert last(history)["p50"] == pytest.approx(0.75)
    for _ in range(11):
        history.sample()
    assert last(history)["p50"] is None


def test_two_minutes_are_kept() -> None:
    history = History(Board(slots=1), dict, "app")
    for _ in range(POINTS + 5):
        history.sample()
    assert len(history.state()["points"]) == POINTS
    assert len(history.state(with_points=False)["points"]) == 1


def test_the_slowest_requests_of_all_workers_come_first() -> None:
    board = Board(slots=2)
    history = History(board, lambda: {"died": 1}, "app")
    for pid, times in ((1, (0.1, 3.0)), (2, (2.0,))):
        worker = Worker(board, pid)
        worker.figures.report = {
            "running": [{"seconds": each, "target": "/"} for each in times],
            "blocks": [{"at": float(pid), "text": "blocked"}],
        }
        worker.figures.by_status[200] = 2.0
        worker.figures.by_status[0] = 1.0
        worker.write(monotonic())
    history.sample()
    state = history.state()
    assert [(each["seconds"], each["pid"]) for each in state["running"]] == [(3.0, 1), (2.0, 2), (0.1, 1)]
    assert [block["pid"] for block in state["blocks"]] == [2, 1]
    assert state["statuses"] == {"2xx": 4, "3xx": 0, "4xx": 0, "5xx": 0, "other": 2}
    assert state["ended"] == {"died": 1}
    assert json.loads(json.dumps(state)) == state


def test_before_the_first_sample_there_is_a_state_already() -> None:
    state = History(Board(slots=1), dict, "app").state()
    assert state["points"] == state["workers"] == state["running"] == []
