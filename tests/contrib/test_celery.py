"""The pool and the timer for Celery's worker, without a worker."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

import greenserve
from greenserve.contrib._celery import TaskPool, Timer
from greenserve.testing import wait_until_parked

DEADLINE = 10.0


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    made = TaskPool(2)
    made.start()
    yield made
    made.terminate()


class Job:
    """A task that waits to be told to end, and what the pool has said of it."""

    def __init__(self, pool: TaskPool, **limits: float) -> None:
        self.said: list[Any] = []
        self.pid = 0
        self.may_end: greenserve.Event[str] = greenserve.Event()
        pool.apply_async(
            self.run,
            callback=lambda result: self.said.append(("result", result)),
            accept_callback=self.accept,
            timeout_callback=lambda soft, seconds: self.said.append(("soft" if soft else "hard", seconds)),
            **limits,
        )

    def accept(self, pid: int, when: float) -> None:
        self.pid = pid
        self.said.append("accepted")

    def run(self) -> Any:
        try:
            return self.may_end.wait(DEADLINE)
        except SoftTimeLimitExceeded as exc:
            return f"gave up: {exc.args}"


def test_importing_the_module_that_celery_names_patches_nothing() -> None:
    module = importlib.import_module("greenserve.contrib.celery")
    assert not greenserve.monkey.is_patched("socket")
    with pytest.raises(AttributeError, match="has no attribute 'TaskPol'"):
        module.TaskPol  # noqa: B018


def test_as_many_tasks_run_as_there_are_places_and_the_others_wait(pool: TaskPool) -> None:
    jobs = [Job(pool) for _ in range(3)]
    wait_until_parked()
    assert [job.said for job in jobs] == [["accepted"], ["accepted"], []]
    assert pool.info["free-threads"] == 0
    jobs[1].may_end.send("done")
    wait_until_parked()
    assert [job.said for job in jobs] == [["accepted"], ["accepted", ("result", "done")], ["accepted"]]
    assert len({job.pid for job in jobs}) == 3


def test_a_task_that_is_terminated_ends_and_says_nothing(pool: TaskPool) -> None:
    jobs = [Job(pool) for _ in range(2)]
    wait_until_parked()
    pool.terminate_job(jobs[0].pid, 15)
    assert jobs[0].said == ["accepted"]
    assert (pool.info["free-threads"], pool.info["running-threads"]) == (1, 1)
    pool.terminate_job(jobs[0].pid, 15)  # once more has no effect


def test_a_task_that_is_terminated_as_it_is_accepted_never_runs(pool: TaskPool) -> None:
    ran: list[object] = []
    pool.apply_async(
        lambda: ran.append(1), accept_callback=lambda pid, when: pool.terminate_job(pid), callback=ran.append
    )
    wait_until_parked()
    assert ran == []
    assert pool.info["free-threads"] == 2


def test_a_soft_limit_is_raised_in_the_task(pool: TaskPool) -> None:
    job = Job(pool, soft_timeout=0.02, timeout=DEADLINE)
    pool.on_stop()
    assert job.said == ["accepted", ("soft", 0.02), ("result", "gave up: (0.02,)")]


def test_a_hard_limit_ends_the_task(pool: TaskPool) -> None:
    job = Job(pool, timeout=0.02)
    pool.on_stop()
    assert job.said == ["accepted", ("hard", 0.02)]
    assert pool.info["free-threads"] == 2


def test_the_limits_of_the_whole_worker_hold_for_tasks_that_have_none() -> None:
    pool = TaskPool(2, timeout=0.02)
    pool.start()
    job = Job(pool)
    pool.on_stop()
    assert job.said == ["accepted", ("hard", 0.02)]


def test_a_stop_waits_for_tasks_and_those_that_wait_for_a_place(pool: TaskPool) -> None:
    jobs = [Job(pool) for _ in range(4)]
    stopping = greenserve.spawn(pool.stop)
    wait_until_parked()
    assert not stopping.ended
    for job in jobs:
        job.may_end.send("done")
    stopping.wait(DEADLINE)
    assert [job.said for job in jobs] == [["accepted", ("result", "done")]] * 4


def test_terminating_the_pool_ends_all_tasks(pool: TaskPool) -> None:
    jobs = [Job(pool) for _ in range(3)]
    wait_until_parked()
    pool.terminate()
    wait_until_parked()
    assert [job.said for job in jobs] == [["accepted"], ["accepted"], []]
    pool.on_stop()  # nobody is left to wait for


def test_the_number_of_places_grows_and_shrinks(pool: TaskPool) -> None:
    jobs = [Job(pool) for _ in range(4)]
    pool.grow(1)
    wait_until_parked()
    assert [bool(job.said) for job in jobs] == [True, True, True, False]
    pool.shrink(2)
    jobs[0].may_end.send("done")
    jobs[1].may_end.send("done")
    wait_until_parked()
    assert [bool(job.said) for job in jobs] == [True, True, True, False]
    assert (pool.limit, pool.num_processes, pool.info["max-concurrency"]) == (1, 1, 1)
    jobs[2].may_end.send("done")
    wait_until_parked()
    assert jobs[3].said == ["accepted"]


class Called:
    """Counts its calls, and can be waited for."""

    def __init__(self, enough: int = 1) -> None:
        self.count = 0
        self.enough = enough
        self.event: greenserve.Event[None] = greenserve.Event()

    def __call__(self) -> None:
        self.count += 1
        if self.count == self.enough:
            self.event.send()

    def wait(self) -> None:
        self.event.wait(DEADLINE)
        assert self.count >= self.enough


@pytest.fixture
def timer() -> Iterator[Timer]:
    made = Timer()
    yield made
    made.clear()


def test_a_call_is_made_when_it_is_due(timer: Timer) -> None:
    called = Called()
    timer.call_after(0.01, called)
    assert [due.entry.fun for due in timer.queue] == [called]
    called.wait()
    assert len(timer) == 0


def test_a_cancelled_call_is_not_made_and_leaves_nothing(timer: Timer) -> None:
    called, later = Called(), Called()
    entry = timer.call_after(0.01, called)
    timer.call_after(0.02, later)
    timer.cancel(entry)
    assert len(timer) == 1
    later.wait()
    assert (called.count, len(timer)) == (0, 0)


def test_a_repeated_call_goes_on_until_it_is_cancelled(timer: Timer) -> None:
    called = Called(enough=3)
    entry = timer.call_repeatedly(0.01, called)
    called.wait()
    assert len(timer) == 1
    entry.cancel()
    assert len(timer) == 0


def test_a_call_that_fails_is_told_of_and_stops_nothing() -> None:
    failed: list[BaseException] = []
    timer = Timer(on_error=failed.append)

    def fail() -> None:
        raise LookupError("of the call")

    called = Called()
    timer.call_after(0, fail)
    timer.call_after(0.01, called)
    called.wait()
    assert list(map(str, failed)) == ["of the call"]


def test_clearing_forgets_all_calls(timer: Timer) -> None:
    entries: list[Callable[..., Any]] = [timer.call_after(60, print), timer.call_after(60, print)]
    assert [due.entry for due in timer.queue] == entries
    timer.clear()
    assert len(timer) == 0
