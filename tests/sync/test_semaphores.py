from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve import BoundedSemaphore, GreenletExit, GreenThread, Semaphore, Timeout, get_hub, sleep, spawn
from greenserve.errors import HubError
from greenserve.sync import CappedSemaphore, Lock
from greenserve.sync.semaphores import Slots
from tests.sync.threads import (
    Countdown,
    HubThread,
    OSThread,
    frequent_thread_switches,
    in_another_os_thread,
    in_any_thread,
    let_run,
    run_in_new_process,
    stress,
    until,
)

PLAIN = [Semaphore, BoundedSemaphore, Slots]


def release_then_kill(release: Callable[[], Any], victim: GreenThread[Any]) -> None:
    """Kill ``victim`` when it has been given something already, but has not run since."""
    get_hub().call_soon(release)
    victim.kill()  # runs after the release, and before what that has scheduled


def keep_the_hub_busy_until(deadline: float) -> None:
    while time.monotonic() < deadline:
        pass


@pytest.mark.parametrize("kind", PLAIN)
def test_as_many_acquire_as_there_are_permits(kind: Callable[[int], Semaphore]) -> None:
    permits = kind(2)
    assert [permits.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    permits.release()
    assert [permits.acquire(blocking=False) for _ in range(2)] == [True, False]


def test_a_semaphore_has_one_permit_unless_told_otherwise() -> None:
    assert (Semaphore().balance, BoundedSemaphore().balance) == (1, 1)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_negative_number_of_permits_is_refused(kind: Callable[[int], Semaphore]) -> None:
    with pytest.raises(ValueError, match="-1"):
        kind(-1)


def test_a_billion_permits_cost_no_memory() -> None:
    permits = Semaphore(10**9)
    assert permits.acquire()
    assert permits.balance == 10**9 - 1
    assert sys.getsizeof(permits._free) < 200


@pytest.mark.parametrize(("blocking", "timeout"), [(True, -2), (True, -0.5), (False, 1), (False, 0)], ids=str)
@pytest.mark.parametrize("make", [lambda: Semaphore(1), Lock, lambda: CappedSemaphore(1, 1)])
def test_a_timeout_that_makes_no_sense_is_refused(make: Callable[[], Any], blocking: bool, timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        make().acquire(blocking, timeout)


def test_a_timeout_of_minus_one_waits_as_long_as_it_takes() -> None:
    permits = Semaphore(0)
    waiter = spawn(permits.acquire, True, -1)
    let_run()
    permits.release()
    assert waiter.wait() is True


def test_the_balance_counts_free_permits_or_those_who_wait() -> None:
    permits = Semaphore(1)
    assert (permits.balance, permits.locked(), permits.waiting, permits.bounded()) == (1, False, 0, False)
    permits.acquire()
    assert (permits.balance, permits.locked(), permits.waiting, permits.bounded()) == (0, True, 0, False)
    waiters = [spawn(permits.acquire) for _ in range(2)]
    let_run()
    assert (permits.balance, permits.locked(), permits.waiting, permits.bounded()) == (-2, True, 2, False)
    for _ in waiters:
        permits.release()
    assert [waiter.wait() for waiter in waiters] == [True, True]


@pytest.mark.parametrize("kind", PLAIN)
def test_those_who_wait_are_served_in_the_order_in_which_they_came(kind: Callable[[int], Semaphore]) -> None:
    permits = kind(1)
    permits.acquire()
    order: list[int] = []

    def wait(number: int) -> None:
        permits.acquire()
        order.append(number)

    for number in range(5):
        spawn(wait, number)
        let_run()
    for _ in range(5):
        permits.release()
    let_run()
    assert order == [0, 1, 2, 3, 4]


def test_a_newcomer_does_not_take_the_permit_of_one_who_waits() -> None:
    permits = Semaphore(0)
    waiter = spawn(permits.acquire)
    let_run()
    permits.release()
    assert permits.acquire(blocking=False) is False
    assert waiter.wait() is True


def test_one_who_releases_and_acquires_again_at_once_goes_to_the_end_of_the_queue() -> None:
    permits = Semaphore(1)
    order: list[str] = []

    def work(name: str) -> None:
        for _ in range(3):
            with permits:
                order.append(name)
                sleep(0)

    for thread in [spawn(work, "a"), spawn(work, "b")]:
        thread.wait()
    assert "".join(order) == "ababab"


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_acquire_gives_up_after_its_timeout_and_leaves_the_queue(timeout: float) -> None:
    permits = Semaphore(0)
    assert permits.acquire(timeout=timeout) is False
    assert permits.waiting == 0
    permits.release()
    assert permits.balance == 1


@pytest.mark.parametrize("kind", PLAIN)
def test_one_who_is_killed_while_waiting_leaves_the_queue(kind: Callable[[int], Semaphore]) -> None:
    permits = kind(1)
    permits.acquire()
    victim, survivor = spawn(permits.acquire), spawn(permits.acquire)
    let_run()
    victim.kill()
    permits.release()
    assert survivor.wait() is True
    permits.release()
    assert permits.balance == 1


def test_one_who_is_killed_after_its_permit_was_handed_over_passes_it_on() -> None:
    permits = Semaphore(0)
    victim, survivor = spawn(permits.acquire), spawn(permits.acquire)
    let_run()
    release_then_kill(permits.release, victim)
    with pytest.raises(GreenletExit):
        victim.wait()
    assert survivor.wait() is True


def test_one_who_is_killed_with_nobody_behind_leaves_its_permit_free() -> None:
    permits = Semaphore(0)
    victim = spawn(permits.acquire)
    let_run()
    release_then_kill(permits.release, victim)
    assert permits.balance == 1


@pytest.mark.parametrize("release_first", [True, False])
def test_a_permit_that_comes_in_the_round_of_the_timeout_is_not_lost(release_first: bool) -> None:
    permits = Semaphore(0)
    hub = get_hub()
    timeout = 0.001
    hub.call_later(timeout / 2 if release_first else timeout * 2, permits.release)
    both_due = time.monotonic() + timeout * 4
    hub.call_soon(keep_the_hub_busy_until, both_due)
    acquired = permits.acquire(timeout=timeout)
    let_run()
    assert (acquired, permits.balance) == ((True, 0) if release_first else (False, 1))


def test_a_deadline_around_acquire_ends_it_and_loses_nothing() -> None:
    permits = Semaphore(0)
    with pytest.raises(Timeout), Timeout(0.001):
        permits.acquire()
    permits.release()
    assert permits.balance == 1


def test_a_with_block_gives_its_permit_back_whatever_happens() -> None:
    permits = Semaphore(1)
    with pytest.raises(KeyError), permits as acquired:
        assert (acquired, permits.balance) == (True, 0)
        raise KeyError
    assert permits.balance == 1


def test_the_hub_may_release_but_not_wait() -> None:
    permits = Semaphore(0)
    errors: list[BaseException] = []

    def wait_in_the_hub() -> None:
        try:
            permits.acquire()
        except HubError as exc:
            errors.append(exc)

    hub = get_hub()
    hub.call_soon(wait_in_the_hub)
    hub.call_soon(permits.release)
    assert permits.acquire(timeout=5) is True
    assert len(errors) == 1
    assert permits.balance == 0


@pytest.mark.parametrize(("initial", "taken"), [(0, 0), (1, 0), (3, 2)])
def test_a_bounded_semaphore_refuses_a_release_too_many(initial: int, taken: int) -> None:
    permits = BoundedSemaphore(initial)
    for _ in range(taken):
        permits.acquire()
    for _ in range(taken):
        permits.release()
    with pytest.raises(ValueError, match="more often"):
        permits.release()
    assert permits.balance == initial


# Slots ---------------------------------------------------------------------------------------------------------------


def test_slots_that_are_free_are_taken_away_at_once() -> None:
    slots = Slots(3)
    slots.resize(-2)
    assert [slots.acquire(blocking=False) for _ in range(2)] == [True, False]


def test_slots_that_are_in_use_are_taken_away_when_they_are_given_back() -> None:
    slots = Slots(2)
    slots.acquire()
    slots.acquire()
    slots.resize(-1)
    assert slots.balance == -1
    slots.release()
    assert slots.acquire(blocking=False) is False
    slots.release()
    assert slots.acquire(blocking=False) is True


def test_new_slots_go_to_those_who_wait() -> None:
    slots = Slots(0)
    waiters = [spawn(slots.acquire) for _ in range(3)]
    let_run()
    slots.resize(2)
    let_run()
    assert [waiter.ended for waiter in waiters] == [True, True, False]
    slots.open()
    assert waiters[2].wait() is True
    assert all(slots.acquire(blocking=False) for _ in range(100))


# CappedSemaphore -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "limit"), [(-1, 1), (2, 1), (1, -1)])
def test_a_capped_semaphore_that_starts_outside_its_limits_is_refused(count: int, limit: int) -> None:
    with pytest.raises(ValueError, match=f"count={count}"):
        CappedSemaphore(count, limit)


def test_a_capped_semaphore_makes_release_wait_at_the_limit() -> None:
    permits = CappedSemaphore(1, 2)
    assert (permits.balance, permits.locked(), permits.bounded()) == (1, False, False)
    assert permits.release() is True
    assert (permits.balance, permits.locked(), permits.bounded()) == (2, False, True)
    assert permits.release(blocking=False) is False
    assert permits.release(timeout=0.001) is False
    releaser = spawn(permits.release)
    let_run()
    assert (permits.balance, releaser.ended) == (3, False)
    assert permits.acquire() is True
    assert releaser.wait() is True
    assert permits.balance == 2


def test_a_capped_semaphore_makes_acquire_wait_at_zero() -> None:
    permits = CappedSemaphore(0, 1)
    assert permits.acquire(blocking=False) is False
    assert permits.acquire(timeout=0.001) is False
    taker = spawn(permits.acquire)
    let_run()
    assert (permits.balance, taker.ended) == (-1, False)
    assert permits.release() is True
    assert taker.wait() is True
    assert (permits.balance, permits.bounded()) == (0, False)


@pytest.mark.parametrize("taker_first", [True, False])
def test_with_a_limit_of_zero_each_release_meets_an_acquire(taker_first: bool) -> None:
    permits = CappedSemaphore(0, 0)
    assert (permits.acquire(blocking=False), permits.release(blocking=False)) == (False, False)
    first, second = (permits.acquire, permits.release) if taker_first else (permits.release, permits.acquire)
    early = spawn(first)
    let_run()
    assert early.ended is False
    assert second() is True
    assert early.wait() is True
    assert (permits.acquire(blocking=False), permits.release(blocking=False)) == (False, False)


@pytest.mark.parametrize("granted", [True, False])
def test_a_taker_that_is_killed_takes_its_room_along(granted: bool) -> None:
    permits = CappedSemaphore(0, 1)
    victim = spawn(permits.acquire)
    let_run()
    if granted:
        release_then_kill(permits.release, victim)
    else:
        victim.kill()
    assert permits.balance == granted
    assert permits.release(blocking=False) is not granted
    assert permits.release(blocking=False) is False
    assert permits.acquire(blocking=False) is True
    assert permits.acquire(blocking=False) is False


def test_a_capped_semaphore_is_a_context_manager() -> None:
    permits = CappedSemaphore(1, 1)
    with permits:
        assert permits.balance == 0
    assert permits.balance == 1


# Between OS threads --------------------------------------------------------------------------------------------------


@in_another_os_thread
def test_a_permit_goes_from_a_green_thread_to_another_os_thread_and_back(os_thread: type[OSThread[Any]]) -> None:
    there, back = Semaphore(0), Semaphore(0)

    def answer() -> str:
        for _ in range(100):
            there.acquire()
            back.release()
        return "answered"

    answering = os_thread(answer)
    for _ in range(100):
        there.release()
        assert back.acquire(timeout=10) is True
    assert answering.wait() == "answered"


@in_any_thread
def test_one_that_waits_in_any_thread_gives_up_after_its_timeout(start: Callable[..., Any]) -> None:
    permits = Semaphore(0)
    waiting = start(lambda: (permits.acquire(timeout=0), permits.acquire(timeout=0.01)))
    assert waiting.wait() == (False, False)
    assert permits.waiting == 0


def test_waiters_of_all_kinds_are_served_in_one_order() -> None:
    permits = Semaphore(0)
    order: list[int] = []
    starters: list[Callable[..., Any]] = [spawn, OSThread, HubThread, OSThread, spawn, HubThread]

    def wait(number: int) -> None:
        permits.acquire()
        order.append(number)
        permits.release()

    threads = []
    for number, start in enumerate(starters):
        threads.append(start(lambda number=number: wait(number)))
        until(lambda number=number: permits.waiting == number + 1)
    permits.release()
    for thread in threads:
        thread.wait()
    assert order == [0, 1, 2, 3, 4, 5]


def test_a_waiter_whose_os_thread_has_ended_is_passed_over() -> None:
    permits = Semaphore(0)

    def leave_a_waiter_behind() -> None:
        spawn(permits.acquire)
        let_run()

    OSThread(leave_a_waiter_behind).wait()
    until(lambda: permits.release() or permits.acquire(blocking=False))


@pytest.mark.parametrize("limit", [1, 2])
def test_no_permit_is_lost_or_doubled_under_stress(limit: int) -> None:
    permits = Semaphore(limit)
    inside: list[None] = []
    clock = Countdown(0.5)
    rounds: list[int] = []

    def use(seed: int) -> None:
        choose = random.Random(seed)
        count = 0
        while clock.running:
            if permits.acquire(*choose.choice([(), (False,), (True, 0.0001), (True, 0.5)])):
                inside.append(None)
                assert len(inside) <= limit
                if choose.random() < 0.3:
                    sleep(0)
                inside.pop()
                permits.release()
                count += 1
            elif choose.random() < 0.3:
                sleep(0)
        rounds.append(count)

    def be_killed() -> None:
        with permits:
            inside.append(None)
            try:
                assert len(inside) <= limit
                sleep(0)
            finally:
                inside.pop()

    def kill_others(seed: int) -> None:
        choose = random.Random(seed)
        while clock.running:
            victims = [spawn(be_killed) for _ in range(4)]
            for _ in range(choose.randrange(4)):
                sleep(0)
            for victim in victims:
                victim.kill()

    def use_natively(seed: int) -> None:
        choose = random.Random(seed)
        while clock.running:
            if permits.acquire(timeout=choose.choice([None, 0, 0.001])):
                inside.append(None)
                assert len(inside) <= limit
                inside.pop()
                permits.release()

    def in_green_threads(seed: int) -> list[Callable[[], Any]]:
        return [partial(use, seed), partial(use, seed + 1), partial(kill_others, seed)]

    stress(
        [partial(use_natively, 1), partial(use_natively, 2)],
        [in_green_threads(3), in_green_threads(5), in_green_threads(7)],
    )
    assert sum(rounds) > 0
    assert (permits.balance, inside) == (limit, [])


def test_slots_stay_as_many_as_they_were_resized_to_under_stress() -> None:
    slots = Slots(3)
    clock = Countdown(0.4)

    def use(seed: int) -> None:
        choose = random.Random(seed)
        while clock.running:
            if slots.acquire(timeout=choose.choice([0, 0.001, 5])):
                slots.release()

    def resize(seed: int) -> None:
        choose = random.Random(seed)
        while clock.running:
            by = choose.randrange(1, 4)
            slots.resize(-by)
            slots.resize(by)

    with frequent_thread_switches():
        threads = [
            OSThread(lambda: use(1)),
            HubThread(lambda: use(2)),
            OSThread(lambda: resize(3)),
            HubThread(lambda: resize(4)),
        ]
        for thread in threads:
            thread.wait()
    assert slots.balance == 3
    assert [slots.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


# By a model ----------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.just(("acquire", 0)),
        st.just(("release", 0)),
        st.tuples(st.just("kill"), st.integers(0, 5)),
        st.just(("turn", 0)),
    ),
    max_size=40,
)


@given(st.integers(0, 2), STEPS)
def test_whatever_the_order_of_calls_every_permit_is_free_or_somebodys(
    value: int, steps: list[tuple[str, int]]
) -> None:
    permits = Semaphore(value)
    released = 0
    waiters = []
    for step, index in steps:
        if step == "acquire":
            waiters.append(spawn(permits.acquire))
        elif step == "release":
            permits.release()
            released += 1
        elif step == "kill" and index < len(waiters):
            waiters[index].kill()
        else:
            let_run(1)
    let_run()
    acquired = sum(waiter.ended and not _was_killed(waiter) for waiter in waiters)
    assert permits.balance + permits.waiting == value + released - acquired
    assert not (permits.waiting and not permits.locked())
    for waiter in waiters:
        waiter.kill()


def _was_killed(waiter: Any) -> bool:
    try:
        waiter.wait()
    except GreenletExit:
        return True
    return False


# In a process of its own ---------------------------------------------------------------------------------------------


def test_a_signal_handler_may_release() -> None:
    script = """
import os, signal, threading
from greenserve import Semaphore, spawn
permits = Semaphore(0)
signal.signal(signal.SIGUSR1, lambda *_: permits.release())
timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
timer.start()
print(permits.acquire(timeout=10), spawn(permits.acquire, False).wait())
"""
    assert run_in_new_process(script) == "True False\n"


def test_a_forked_child_passes_over_waiters_that_stayed_in_the_parent() -> None:
    script = """
import os, threading
from greenserve import Semaphore, sleep, spawn
permits = Semaphore(0)
spawn(permits.acquire)
threading.Thread(target=permits.acquire, daemon=True).start()
while permits.waiting < 2:
    sleep(0)
if os.fork() == 0:
    permits.release()
    os._exit(0 if permits.acquire(timeout=5) else 1)
_, status = os.wait()
permits.release()
permits.release()
print(os.waitstatus_to_exitcode(status))
"""
    assert run_in_new_process(script) == "0\n"
