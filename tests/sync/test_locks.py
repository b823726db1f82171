from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from greenserve import Condition, Event, GreenletExit, Lock, RLock, get_hub, sleep, spawn
from greenserve.core.waiters import Waiter
from greenserve.errors import HubError
from tests.sync.threads import (
    Countdown,
    OSThread,
    in_another_os_thread,
    in_any_thread,
    let_run,
    run_in_new_process,
    stress,
    until,
)

any_lock = pytest.mark.parametrize("kind", [Lock, RLock])
AnyLock = Any  # Lock | RLock


def waiting(lock: AnyLock) -> int:
    return len(lock._queue)


# What both have ------------------------------------------------------------------------------------------------------


@any_lock
def test_one_holds_the_lock_and_the_next_waits(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    assert lock.locked() is False
    with lock as acquired:
        assert (acquired, lock.locked()) == (True, True)
        other = spawn(lock.acquire, False)
        assert other.wait() is False
    assert lock.locked() is False


@any_lock
def test_those_who_wait_for_a_lock_get_it_in_the_order_in_which_they_came(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    order: list[int] = []

    def work(number: int) -> None:
        with lock:
            order.append(number)
            sleep(0)

    with lock:
        threads = []
        for number in range(5):
            threads.append(spawn(work, number))
            let_run()
    for thread in threads:
        thread.wait()
    assert order == [0, 1, 2, 3, 4]


@any_lock
def test_one_who_takes_a_lock_again_at_once_lets_the_one_go_first_who_waits(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    order: list[str] = []

    def work(name: str) -> None:
        for _ in range(3):
            with lock:
                order.append(name)
                sleep(0)

    for thread in [spawn(work, "a"), spawn(work, "b")]:
        thread.wait()
    assert "".join(order) == "ababab"


@any_lock
@pytest.mark.parametrize("timeout", [0, 0.01])
def test_waiting_for_a_lock_ends_after_the_timeout(kind: Callable[[], AnyLock], timeout: float) -> None:
    lock = kind()
    with lock:
        assert spawn(lock.acquire, timeout=timeout).wait() is False
        assert waiting(lock) == 0
    assert lock.locked() is False


@any_lock
@pytest.mark.parametrize(("blocking", "timeout"), [(True, -2), (False, 1)])
def test_a_lock_refuses_a_timeout_that_makes_no_sense(
    kind: Callable[[], AnyLock], blocking: bool, timeout: float
) -> None:
    with pytest.raises(ValueError, match="timeout"):
        kind().acquire(blocking, timeout)


@any_lock
def test_the_keywords_of_the_standard_librarys_locks_are_understood(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    assert lock.acquire(blocking=True, timeout=-1) is True
    assert spawn(lock.acquire, blocking=False, timeout=-1).wait() is False
    lock.release()


@any_lock
def test_a_lock_that_is_not_held_can_not_be_released(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    with pytest.raises(RuntimeError):
        lock.release()
    assert lock.acquire(blocking=False) is True
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


@any_lock
def test_one_who_is_killed_while_waiting_for_a_lock_leaves_the_queue(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    with lock:
        victim, survivor = spawn(lock.acquire), spawn(lock.acquire)
        let_run()
        victim.kill()
        assert waiting(lock) == 1
    assert survivor.wait() is True


@any_lock
def test_one_who_is_killed_when_the_lock_is_its_own_already_passes_it_on(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    end: Event[None] = Event()
    got: list[str] = []

    def hold() -> None:
        with lock:
            end.wait()

    def work(name: str) -> None:
        with lock:
            got.append(name)

    spawn(hold)
    victim, survivor = spawn(work, "victim"), spawn(work, "survivor")
    let_run()
    end.send()  # runs the release, ...
    victim.kill()  # ... then this, then what the release has scheduled
    survivor.wait()
    assert got == ["survivor"]
    assert (lock.locked(), waiting(lock)) == (False, 0)


@any_lock
@in_another_os_thread
def test_a_lock_goes_back_and_forth_between_os_threads(
    kind: Callable[[], AnyLock], os_thread: type[OSThread[Any]]
) -> None:
    lock = kind()
    order: list[str] = []

    def work(name: str) -> None:
        for _ in range(50):
            with lock:
                order.append(name)
                until(lambda: waiting(lock) or len(order) >= 99)

    other = os_thread(lambda: work("b"))
    work("a")
    other.wait()
    assert order.count("a") == order.count("b") == 50
    assert "aaa" not in "".join(order[1:98])
    assert "bbb" not in "".join(order[1:98])


@any_lock
def test_the_hub_can_not_wait_for_a_lock(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    errors: list[HubError] = []

    def wait_in_the_hub() -> None:
        try:
            lock.acquire()
        except HubError as exc:
            errors.append(exc)

    with lock:
        get_hub().call_soon(wait_in_the_hub)
        let_run()
    assert len(errors) == 1
    assert (waiting(lock), lock.locked()) == (0, False)


@any_lock
def test_a_lock_excludes_under_stress(kind: Callable[[], AnyLock]) -> None:
    lock = kind()
    clock = Countdown(0.4)
    counter = 0
    rounds: list[int] = []

    def work(seed: int) -> None:
        nonlocal counter
        choose = random.Random(seed)
        count = 0
        while clock.running:
            if lock.acquire(*choose.choice([(), (), (False,), (True, 0.0002)])):
                seen = counter
                if choose.random() < 0.2:
                    sleep(0)
                counter = seen + 1
                count += 1
                lock.release()
        rounds.append(count)

    def be_killed() -> None:
        with lock:
            sleep(0)

    def kill_others() -> None:
        while clock.running:
            victims = [spawn(be_killed) for _ in range(3)]
            let_run(2)
            for victim in victims:
                victim.kill()

    def in_green_threads(seed: int) -> list[Callable[[], Any]]:
        return [partial(work, seed), partial(work, seed + 1), kill_others]

    stress([partial(work, 1), partial(work, 2)], [in_green_threads(3), in_green_threads(5)])
    assert counter == sum(rounds) > 0
    assert (lock.locked(), waiting(lock)) == (False, 0)


# Lock ----------------------------------------------------------------------------------------------------------------


@in_any_thread
def test_anybody_may_release_a_lock(start: Callable[..., Any]) -> None:
    lock = Lock()
    lock.acquire()
    start(lock.release).wait()
    assert lock.acquire(timeout=5) is True


def test_the_standard_librarys_condition_works_with_our_locks() -> None:
    for lock in (Lock(), RLock()):
        condition = threading.Condition(lock)  # type: ignore[arg-type]  # that is what is tested
        with condition:
            assert condition.wait(0) is False
            condition.notify_all()
        assert lock.locked() is False


# RLock ---------------------------------------------------------------------------------------------------------------


@in_any_thread
def test_its_owner_may_acquire_an_rlock_again(start: Callable[..., Any]) -> None:
    lock = RLock()

    def nest(depth: int) -> int:
        with lock:
            return nest(depth - 1) + 1 if depth else 0

    assert start(lambda: nest(5)).wait() == 5
    assert lock.locked() is False


def test_an_rlock_is_let_go_when_it_was_released_as_often_as_acquired() -> None:
    lock = RLock()
    lock.acquire()
    lock.acquire()
    other = spawn(lock.acquire)
    let_run()
    lock.release()
    let_run()
    assert other.ended is False
    lock.release()
    assert other.wait() is True


@in_any_thread
def test_another_one_than_the_owner_can_neither_enter_nor_release_an_rlock(start: Callable[..., Any]) -> None:
    lock = RLock()

    def try_it() -> bool:
        with pytest.raises(RuntimeError):
            lock.release()
        return lock.acquire(blocking=False)

    with lock:
        assert start(try_it).wait() is False


def test_each_green_thread_of_an_os_thread_is_an_owner_of_its_own() -> None:
    lock = RLock()
    order: list[str] = []

    def work(name: str) -> None:
        with lock, lock:
            order.append(name)
            sleep(0)
            order.append(name)

    for thread in [spawn(work, "a"), spawn(work, "b")]:
        thread.wait()
    assert order == ["a", "a", "b", "b"]


class _UsesLockWhenCollected:
    """A finalizer that needs the lock, as one that logs does, in a cycle, so that the collector runs it anywhere."""

    def __init__(self, lock: RLock, done: list[None]) -> None:
        self.lock = lock
        self.done = done
        self.cycle = self

    def __del__(self) -> None:
        with self.lock:
            self.done.append(None)


@pytest.mark.parametrize("contended", [False, True])
def test_a_finalizer_may_use_an_rlock_in_the_middle_of_its_use(contended: bool) -> None:
    lock = RLock()
    done: list[None] = []
    made = 0
    before = gc.get_threshold()
    gc.set_threshold(1)  # at nearly every allocation
    try:
        others = [spawn(_use, lock, 300) for _ in range(2 * contended)]
        for _ in range(300):
            _UsesLockWhenCollected(lock, done)
            made += 1
            with lock, lock:
                pass
            if contended:
                sleep(0)
        for other in others:
            other.wait()
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(done) == made
    assert (lock.locked(), waiting(lock)) == (False, 0)


def test_an_rlock_is_handed_over_though_a_signal_handler_waits_in_the_middle_of_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock = RLock()
    lock.acquire()
    other = spawn(_use, lock, 1)
    sleep(0)
    notify = Waiter.notify

    def notify_and_wait(waiter: Waiter) -> bool:
        monkeypatch.undo()
        done = notify(waiter)
        sleep(0.01)  # what a handler does that comes just then
        return done

    monkeypatch.setattr(Waiter, "notify", notify_and_wait)
    lock.release()
    other.wait()
    assert not lock.locked()


def _use(lock: RLock, times: int) -> None:
    for _ in range(times):
        with lock:
            sleep(0)


# Condition -----------------------------------------------------------------------------------------------------------

any_condition = pytest.mark.parametrize("kind", [Lock, RLock, None])


def make_condition(kind: Any) -> Condition:
    return Condition() if kind is None else Condition(kind())


@any_condition
def test_a_notify_wakes_one_who_waits_and_the_lock_is_its_own_again(kind: Any) -> None:
    condition = make_condition(kind)
    order: list[str] = []

    def wait() -> None:
        with condition:
            assert condition.wait() is True
            order.append("woken")

    waiter = spawn(wait)
    let_run()
    with condition:
        condition.notify()
        let_run()
        order.append("notified")
    waiter.wait()
    assert order == ["notified", "woken"]


@any_condition
def test_wait_and_notify_need_the_lock(kind: Any) -> None:
    condition = make_condition(kind)
    for call in (condition.wait, condition.notify, condition.notify_all, lambda: condition.wait_for(lambda: False)):
        with pytest.raises(RuntimeError, match="without the lock"):
            call()


@pytest.mark.parametrize(("n", "woken"), [(1, [0]), (2, [0, 1]), (9, [0, 1, 2])])
def test_notify_wakes_those_who_have_waited_longest(n: int, woken: list[int]) -> None:
    condition = Condition()
    order: list[int] = []

    def wait(number: int) -> None:
        with condition:
            condition.wait()
            order.append(number)

    waiters = []
    for number in range(3):
        waiters.append(spawn(wait, number))
        let_run()
    with condition:
        condition.notify(n)
    let_run()
    assert order == woken
    with condition:
        condition.notify_all()
    for waiter in waiters:
        waiter.wait()


@any_condition
def test_a_wait_ends_after_its_timeout_with_the_lock_held(kind: Any) -> None:
    condition = make_condition(kind)
    with condition:
        assert condition.wait(0.001) is False
        assert spawn(condition.acquire, False).wait() is False
    assert spawn(condition.acquire, False).wait() is True


def test_a_wait_under_an_rlock_lets_all_of_it_go_and_takes_all_of_it_back() -> None:
    condition = Condition()

    def notify() -> None:
        with condition:
            condition.notify()

    with condition, condition, condition:
        spawn(notify)
        assert condition.wait(5) is True
    with pytest.raises(RuntimeError):
        condition.release()


def test_wait_for_returns_the_predicates_last_value() -> None:
    condition = Condition()
    state: list[str] = []

    def change() -> None:
        for value in ("one", "two"):
            with condition:
                state.append(value)
                condition.notify()
            let_run()

    spawn(change)
    with condition:
        assert condition.wait_for(lambda: len(state) == 2 and state[-1], timeout=5) == "two"
        assert condition.wait_for(lambda: state[9:], timeout=0.001) == []
        assert condition.wait_for(lambda: "at once", timeout=0) == "at once"


def test_a_notify_that_comes_to_one_who_is_killed_goes_to_the_next() -> None:
    condition = Condition()
    woken: list[str] = []

    def wait(name: str) -> None:
        with condition:
            condition.wait()
            woken.append(name)

    victim, survivor = spawn(wait, "victim"), spawn(wait, "survivor")
    let_run()

    def notify() -> None:
        with condition:
            condition.notify()

    spawn(notify)
    get_hub().call_soon(lambda: None)
    victim.kill()  # runs after the notify
    survivor.wait()
    assert woken == ["survivor"]


def test_one_who_is_killed_in_a_wait_has_the_lock_again_before_it_ends() -> None:
    condition = Condition()
    held: list[bool] = []

    def wait() -> None:
        with condition:
            try:
                condition.wait()
            finally:
                held.append(condition._lock._is_owned())

    victim = spawn(wait)
    let_run()
    with condition:
        victim.kill()
        let_run()
        assert held == []
        victim.kill()  # and once more, while it waits for the lock
        let_run()
        assert held == []
    with pytest.raises(GreenletExit):
        victim.wait()
    assert held == [True]
    assert condition.acquire(blocking=False) is True


@in_another_os_thread
def test_a_condition_works_between_os_threads(os_thread: type[OSThread[Any]]) -> None:
    condition = Condition()
    turns: list[int] = []

    def play(mine: int) -> None:
        for turn in range(mine, 60, 2):
            with condition:
                assert condition.wait_for(lambda turn=turn: len(turns) == turn, timeout=10)
                turns.append(turn)
                condition.notify_all()

    other = os_thread(lambda: play(1))
    play(0)
    other.wait()
    assert turns == list(range(60))


@in_any_thread
def test_a_wait_in_any_thread_ends_after_its_timeout(start: Callable[..., Any]) -> None:
    condition = Condition()

    def wait() -> tuple[bool, bool]:
        begun = time.monotonic()
        with condition:
            return condition.wait(0.01), time.monotonic() - begun >= 0.01

    assert start(wait).wait() == (False, True)


# In a process of its own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_forked_child_can_make_a_lock_new(kind: str) -> None:
    script = f"""
import os
from greenserve import {kind}, sleep, spawn
lock = {kind}()
spawn(lock.acquire), spawn(lock.acquire)
sleep(0)
if os.fork() == 0:
    lock._at_fork_reinit()
    with lock:
        os._exit(0 if lock.locked() and not spawn(lock.acquire, False).wait() else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]), lock.locked())
"""
    assert run_in_new_process(script) == "0 True\n"


def test_waiting_for_what_nobody_can_give_raises_instead_of_hanging() -> None:
    script = """
import greenserve
from greenserve import *
from greenserve.errors import DeadlockError
from greenserve.sync import CappedSemaphore, PriorityQueue
lock, rlock, full, pool = Lock(), RLock(), Queue(1), GreenPool(1)
condition, unfinished = Condition(), Queue()
lock.acquire(), spawn(rlock.acquire).wait(), full.put(1), unfinished.put(1), condition.acquire()
pool.spawn(Event().wait)
waits = {
    "event": Event().wait, "semaphore": Semaphore(0).acquire, "capped": CappedSemaphore(0, 1).acquire,
    "lock": lock.acquire, "rlock": rlock.acquire, "condition": condition.wait,
    "get": LightQueue().get, "put": lambda: full.put(2), "channel": lambda: Queue(0).put(1), "join": unfinished.join,
    "priority": PriorityQueue().get, "pool": lambda: pool.spawn(print), "waitall": pool.waitall,
}
for name, wait in waits.items():
    try:
        wait()
    except DeadlockError as exc:
        assert "Parked" in str(exc), exc
        print(name)
"""
    names = "event semaphore capped lock rlock condition get put channel join priority pool waitall"
    assert run_in_new_process(script) == names.replace(" ", "\n") + "\n"
