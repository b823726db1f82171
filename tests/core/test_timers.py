from __future__ import annotations

from collections import deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from greenserve.core.timers import Handle, Timer, Timers

FAR = 1e9


def nothing() -> None:
    pass


def drain(timers: Timers, now: float) -> list[Handle]:
    ready: deque[Handle] = deque()
    timers.move_due(now, ready)
    return list(ready)


def test_what_is_due_comes_out_earliest_first_and_the_rest_stays() -> None:
    timers = Timers()
    late, early, later = Handle(nothing), Handle(nothing), Handle(nothing)
    timers.add(2.0, late)
    timers.add(1.0, early)
    timers.add(3.0, later)
    assert drain(timers, 2.0) == [early, late]
    assert timers.next_deadline() == 3.0


def test_equal_deadlines_keep_their_order() -> None:
    timers = Timers()
    handles = [Handle(nothing) for _ in range(100)]
    for handle in handles:
        timers.add(1.0, handle)
    assert drain(timers, 1.0) == handles


def test_an_infinite_deadline_comes_after_all_others_and_never_falls_due() -> None:
    timers = Timers()
    never = Handle(nothing)
    timers.add(float("inf"), never)
    timers.add(FAR, Handle(nothing))
    assert timers.next_deadline() == FAR
    drain(timers, FAR)
    assert timers.next_deadline() == float("inf")


def test_a_deadline_of_nan_is_refused_since_it_would_hide_what_lies_behind_it() -> None:
    timers = Timers()
    with pytest.raises(ValueError, match="NaN"):
        timers.add(float("nan"), Handle(nothing))
    assert timers.heap == []


def test_a_handle_cancelled_without_the_queue_knowing_does_not_come_out() -> None:
    timers = Timers()
    handle = Handle(nothing)
    timers.add(1.0, handle)
    handle.cancel()
    assert timers.next_deadline() is None
    assert drain(timers, 2.0) == []


@pytest.mark.parametrize("keep", [0, 1, 1000])
def test_cancelled_entries_do_not_pile_up(keep: int) -> None:
    timers = Timers()
    kept = [Handle(nothing) for _ in range(keep)]
    for number, handle in enumerate(kept):
        timers.add(FAR - number, handle)
    for _ in range(20_000):
        handle = Handle(nothing)
        timers.add(FAR, handle)
        timers.cancel(handle)
    assert len(timers.heap) <= 2 * keep + 130
    assert drain(timers, FAR) == kept[::-1]


def test_a_timer_tells_the_queue_that_it_is_cancelled() -> None:
    timers = Timers()
    for _ in range(1000):
        timer = Timer(timers, nothing)
        timers.add(FAR, timer)
        timer.cancel()
    assert len(timers.heap) <= 130


def test_cancelling_what_has_run_does_not_rebuild_the_queue_of_the_others() -> None:
    timers = Timers()
    living = [Handle(nothing) for _ in range(100)]
    for handle in living:
        timers.add(FAR, handle)
    heap = list(timers.heap)
    for _ in range(1000):
        handle = Handle(None)  # as the hub leaves it when it has run
        timers.cancel(handle)
    assert timers.heap == heap


class TimersAgainstAList(RuleBasedStateMachine):
    """The queue beside a list that is searched from end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.model: list[tuple[float, int, Handle]] = []
        self.now = 0.0
        self.added = 0

    @rule(delay=st.floats(0, 100) | st.sampled_from([0.0, 1.0, float("inf")]), many=st.integers(1, 40))
    def add(self, delay: float, many: int) -> None:
        for _ in range(many):
            handle = Handle(nothing)
            self.timers.add(self.now + delay, handle)
            self.model.append((self.now + delay, self.added, handle))
            self.added += 1

    @precondition(lambda self: self.model)
    @rule(data=st.data(), many=st.integers(1, 100))
    def cancel(self, data: st.DataObject, many: int) -> None:
        for _ in range(min(many, len(self.model))):
            _, _, handle = self.model.pop(data.draw(st.integers(0, len(self.model) - 1)))
            self.timers.cancel(handle)

    @rule(seconds=st.floats(0, 60))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds
        due = sorted((entry for entry in self.model if entry[0] <= self.now), key=lambda entry: entry[:2])
        assert drain(self.timers, self.now) == [handle for _, _, handle in due]
        self.model = [entry for entry in self.model if entry[0] > self.now]

    @rule()
    def ask_for_the_next(self) -> None:
        assert self.timers.next_deadline() == min((deadline for deadline, _, _ in self.model), default=None)

    @invariant()
    def holds_what_the_list_holds(self) -> None:
        assert len(self.timers) == len(self.model)
        assert len(self.timers.heap) <= 2 * len(self.model) + 130


TestTimersAgainstAList = TimersAgainstAList.TestCase
