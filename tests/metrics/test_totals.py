"""Sums over workers, and percentiles from buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.metrics.board import Figures, State
from greenserve.metrics.totals import percentile, total_of
from greenserve.wsgi.meter import BOUNDS, find_bucket


def worker(state: State, **gauges: float) -> Figures:
    figures = Figures()
    figures.gauges |= {"state": float(state), **gauges}
    figures.counters["requests"] = 10.0
    figures.by_status[200] = 9.0
    figures.by_status[500] = 1.0
    figures.buckets[3] = 10.0
    return figures


def test_what_was_counted_adds_up_over_the_living_and_the_dead() -> None:
    totals = total_of([worker(State.READY), worker(State.STOPPING), worker(State.FREE)])
    assert totals.counters["requests"] == 30
    assert totals.by_status == {200: 27, 500: 3}
    assert totals.buckets[3] == 30


def test_what_holds_now_adds_up_over_the_living_alone() -> None:
    totals = total_of([worker(State.READY, rss=5.0), worker(State.READY, rss=6.0), worker(State.FREE, rss=7.0)])
    assert totals.gauges["rss"] == 11.0
    assert totals.workers == {State.STARTING: 0, State.READY: 2, State.STOPPING: 0}


def test_lag_and_backlog_are_the_largest_of_all() -> None:
    totals = total_of([worker(State.READY, lag=0.1, backlog=3.0), worker(State.READY, lag=0.3, backlog=-1.0)])
    assert totals.gauges["lag"] == 0.3
    assert totals.gauges["backlog"] == 3.0


def test_nobody_has_no_figures() -> None:
    totals = total_of([])
    assert sum(totals.workers.values()) == 0
    assert totals.by_status == {}


@pytest.mark.parametrize(
    ("times", "share", "expected"),
    [
        ([], 0.5, None),
        ([0.0001], 1.0, 0.0001),
        ([0.02] * 100, 0.5, 0.0175),  # in the middle of its bucket, from 0.01 to 0.025
        ([0.0008] * 99 + [3.0], 0.99, 0.001),
        ([0.0008] * 98 + [3.0] * 2, 0.995, 4.375),
        ([100.0], 0.5, 60.0),
    ],
)
def test_a_percentile_lies_where_its_bucket_does(times: list[float], share: float, expected: float | None) -> None:
    buckets = [0] * (len(BOUNDS) + 1)
    for seconds in times:
        buckets[find_bucket(BOUNDS, seconds)] += 1
    assert percentile(buckets, share) == (None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 1000), min_size=len(BOUNDS) + 1, max_size=len(BOUNDS) + 1))
def test_percentiles_never_go_back(buckets: list[int]) -> None:
    found = [percentile(buckets, share / 20) for share in range(1, 21)]
    if not any(buckets):
        assert found == [None] * 20
    else:
        assert [each for each in found if each is not None] == found
        assert found == sorted(each or 0.0 for each in found)
