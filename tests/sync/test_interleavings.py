from __future__ import annotations

import queue
from _thread import get_ident
from collections.abc import Callable
from typing import Any

import pytest

from greenserve import Condition, Event, GreenPool, LifoQueue, LightQueue, Lock, PriorityQueue, Queue, RLock, Semaphore
from greenserve.sync.semaphores import CappedSemaphore, Slots
from tests.sync.interleaving import (
    Rival,
    Scenario,
    is_parked,
    try_each_step,
    try_each_step_natively,
    try_each_step_of_a_wait,
)
from tests.sync.threads import HubThread, OSThread, spin_until

# Long enough to end, and short enough to be tried a hundred times.
SOON = 0.0005


class Rivals:
    """Calls that other OS threads make in the middle of one of ours, and what came of them."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._rivals: list[Rival[Any]] = []

    def start(self) -> None:
        self._rivals.append(Rival(self._call))

    def results(self) -> list[Any]:
        return [rival.wait() for rival in self._rivals]


def held(kind: Callable[[], Any]) -> Any:
    lock = kind()
    lock.acquire()
    return lock


# Nobody is left waiting ----------------------------------------------------------------------------------------------

NO_PERMIT = [lambda: Semaphore(0), lambda: held(Semaphore), lambda: held(Lock), lambda: held(lambda: Slots(1))]


@pytest.mark.parametrize("make_permits", NO_PERMIT)
def test_one_that_starts_to_acquire_in_the_middle_of_a_release_is_served(make_permits: Callable[[], Any]) -> None:
    def make() -> Scenario:
        permits = make_permits()
        rivals = Rivals(permits.acquire)

        def check(_: Any) -> None:
            assert rivals.results() == [True]
            assert permits.balance == 0

        return Scenario(permits.release, rivals.start, check)

    try_each_step(make)


@pytest.mark.parametrize("make_permits", NO_PERMIT)
def test_a_release_in_the_middle_of_an_acquire_is_not_missed(make_permits: Callable[[], Any]) -> None:
    def make() -> Scenario:
        permits = make_permits()

        def check(acquired: bool) -> None:
            assert (acquired, permits.balance) == (True, 0)

        return Scenario(permits.acquire, permits.release, check)

    try_each_step_of_a_wait(make)


def test_a_release_by_another_in_the_middle_of_an_rlocks_acquire_is_not_missed() -> None:
    def make() -> Scenario:
        lock = RLock()
        let_go = Semaphore(0)

        def hold() -> None:
            with lock:
                let_go.acquire()

        holder = Rival(hold)

        def check(acquired: bool) -> None:
            holder.wait()
            assert acquired is True
            assert (lock.locked(), len(lock._queue)) == (False, 0)

        def release() -> None:
            let_go.release()
            spin_until(lambda: holder.ended)

        return Scenario(lambda: lock.acquire() and not lock.release(), release, check)

    try_each_step_of_a_wait(make)


def test_one_that_starts_to_acquire_in_the_middle_of_an_rlocks_release_is_served() -> None:
    def make() -> Scenario:
        lock = held(RLock)
        rivals = Rivals(lambda: lock.acquire() and not lock.release())

        def check(_: Any) -> None:
            assert rivals.results() == [True]
            assert (lock.locked(), len(lock._queue)) == (False, 0)

        return Scenario(lock.release, rivals.start, check)

    try_each_step(make)


def test_one_that_starts_to_wait_in_the_middle_of_a_send_gets_what_is_sent() -> None:
    def make() -> Scenario:
        event: Event[int] = Event()
        rivals = Rivals(event.wait)

        def check(_: Any) -> None:
            assert rivals.results() == [1]

        return Scenario(lambda: event.send(1), rivals.start, check)

    try_each_step(make)


def test_a_send_in_the_middle_of_a_wait_is_not_missed() -> None:
    def make() -> Scenario:
        event: Event[int] = Event()

        def check(result: Any) -> None:
            assert result == 1

        return Scenario(event.wait, lambda: event.send(1), check)

    try_each_step_of_a_wait(make)


def test_of_two_sends_one_in_the_middle_of_the_other_one_counts() -> None:
    def make() -> Scenario:
        event: Event[int] = Event()
        sent: list[int] = []

        def send(number: int) -> None:
            try:
                event.send(number)
            except RuntimeError:
                return
            sent.append(number)

        def check(_: Any) -> None:
            assert [event.wait()] == sent

        return Scenario(lambda: send(1), lambda: send(2), check)

    try_each_step(make)


# What blocks and what does not: a put that has room, a get that has an item.
QUEUES_WITH_ROOM = [LightQueue, lambda: LightQueue(1), Queue, lambda: LifoQueue(1), PriorityQueue]
FULL_QUEUES = [
    lambda: LightQueue(0),
    lambda: LightQueue(1),
    lambda: PriorityQueue(1),
]


def filled(items: Any) -> Any:
    for item in range(items.maxsize):
        items.put_nowait(item)
    return items


@pytest.mark.parametrize("make_items", QUEUES_WITH_ROOM)
def test_one_that_starts_to_get_in_the_middle_of_a_put_gets_the_item(make_items: Callable[[], Any]) -> None:
    def make() -> Scenario:
        items = make_items()
        rivals = Rivals(items.get)

        def check(_: Any) -> None:
            assert rivals.results() == [1]
            assert items.qsize() == 0

        return Scenario(lambda: items.put(1), rivals.start, check)

    try_each_step(make)


@pytest.mark.parametrize("make_items", QUEUES_WITH_ROOM)
def test_a_put_in_the_middle_of_a_get_is_not_missed(make_items: Callable[[], Any]) -> None:
    def make() -> Scenario:
        items = make_items()

        def check(item: int) -> None:
            assert (item, items.qsize()) == (1, 0)

        return Scenario(items.get, lambda: items.put_nowait(1), check)

    try_each_step_of_a_wait(make)


@pytest.mark.parametrize("make_items", [lambda: LightQueue(1), lambda: LifoQueue(1), lambda: PriorityQueue(1)])
def test_one_that_starts_to_put_in_the_middle_of_a_get_finds_room(make_items: Callable[[], Any]) -> None:
    def make() -> Scenario:
        items = filled(make_items())
        rivals = Rivals(lambda: items.put(1))

        def check(item: int) -> None:
            assert rivals.results() == [None]
            assert sorted([item, items.get_nowait()]) == [0, 1]
            assert items.qsize() == 0

        return Scenario(items.get, rivals.start, check)

    try_each_step(make)


@pytest.mark.parametrize("make_items", FULL_QUEUES)
def test_a_get_in_the_middle_of_a_put_that_waits_for_room_is_not_missed(make_items: Callable[[], Any]) -> None:
    def make() -> Scenario:
        items = filled(make_items())
        rivals = Rivals(items.get)

        def check(_: Any) -> None:
            got = rivals.results()
            left = [items.get_nowait() for _ in range(items.qsize())]
            assert sorted(got + left) == [*range(items.maxsize), 7]

        return Scenario(lambda: items.put(7), rivals.start, check)

    try_each_step_of_a_wait(make)


@pytest.mark.parametrize("kind", [LightQueue, Queue])
def test_a_put_in_the_middle_of_a_get_of_a_channel_is_not_missed(kind: Callable[[int], Any]) -> None:
    def make() -> Scenario:
        channel = kind(0)
        rivals = Rivals(lambda: channel.put(1))

        def check(item: int) -> None:
            assert (item, rivals.results()) == (1, [None])
            with pytest.raises(queue.Full):
                channel.put_nowait(2)

        return Scenario(channel.get, rivals.start, check)

    try_each_step_of_a_wait(make)


def test_the_end_of_the_work_in_the_middle_of_a_join_is_not_missed() -> None:
    def make() -> Scenario:
        items: Queue[int] = Queue()
        items.put(1)

        def check(joined: bool) -> None:
            assert joined is True

        return Scenario(items.join, items.task_done, check)

    try_each_step_of_a_wait(make)


def test_one_that_starts_to_join_in_the_middle_of_the_last_task_done_goes_on() -> None:
    def make() -> Scenario:
        items: Queue[int] = Queue()
        items.put(1)
        rivals = Rivals(items.join)

        def check(_: Any) -> None:
            assert rivals.results() == [True]

        return Scenario(items.task_done, rivals.start, check)

    try_each_step(make)


def test_the_end_of_the_last_green_thread_in_the_middle_of_a_waitall_is_not_missed() -> None:
    def make() -> Scenario:
        pool = GreenPool()
        end: Event[None] = Event()
        going = HubThread(lambda: pool.spawn(end.wait).wait())
        spin_until(lambda: pool.running() == 1)

        def end_it() -> None:
            end.send()
            spin_until(lambda: going.ended)

        def check(empty: bool) -> None:
            assert (empty, pool.running(), pool.free()) == (True, 0, 1000)

        return Scenario(pool.waitall, end_it, check)

    try_each_step_of_a_wait(make)


@pytest.mark.parametrize("taker_first", [True, False])
def test_the_two_sides_of_a_capped_semaphore_meet_wherever_one_comes_in(taker_first: bool) -> None:
    def make() -> Scenario:
        permits = CappedSemaphore(0, 0)
        calls = [permits.acquire, permits.release]
        rivals = Rivals(calls[taker_first])

        def check(result: bool) -> None:
            assert (result, rivals.results()) == (True, [True])
            assert (permits.acquire(False), permits.release(False)) == (False, False)

        return Scenario(calls[not taker_first], rivals.start, check)

    try_each_step_of_a_wait(make)


def test_a_notify_in_the_middle_of_a_wait_is_not_missed() -> None:
    def make() -> Scenario:
        condition = Condition()
        state: list[int] = []

        def wait() -> bool:
            with condition:
                return condition.wait_for(lambda: bool(state))

        def notify() -> None:
            with condition:
                state.append(1)
                condition.notify()

        rivals = Rivals(notify)

        def check(result: bool) -> None:
            assert (result, rivals.results()) == (True, [None])

        return Scenario(wait, rivals.start, check)

    try_each_step_of_a_wait(make)


# Nothing is lost or doubled, up to the end of a wait that ends by its timeout ----------------------------------------


@pytest.mark.parametrize("make_permits", NO_PERMIT)
def test_a_release_in_the_middle_of_an_acquire_that_times_out_is_somebodys(make_permits: Callable[[], Any]) -> None:
    def make() -> Scenario:
        permits = make_permits()

        def check(acquired: bool) -> None:
            assert (permits.balance, permits.waiting) == (0 if acquired else 1, 0)

        return Scenario(lambda: permits.acquire(timeout=SOON), permits.release, check)

    try_each_step_natively(make)


@pytest.mark.parametrize("maxsize", [None, 0, 1])
def test_a_put_in_the_middle_of_a_get_that_times_out_is_somebodys(maxsize: int | None) -> None:
    def make() -> Scenario:
        items: LightQueue[int] = LightQueue(maxsize)
        put: list[int] = []

        def get() -> int | None:
            try:
                return items.get(timeout=SOON)
            except queue.Empty:
                return None

        def try_to_put() -> None:
            try:
                items.put_nowait(1)
            except queue.Full:  # a channel, and nobody to give it to
                return
            put.append(1)

        def check(item: int | None) -> None:
            left = [items.get_nowait() for _ in range(items.qsize())]
            assert ([] if item is None else [item]) + left == put
            if maxsize is not None:
                for number in range(maxsize):
                    items.put_nowait(number)
                with pytest.raises(queue.Full):
                    items.put_nowait(9)

        return Scenario(get, try_to_put, check)

    try_each_step_natively(make)


@pytest.mark.parametrize("maxsize", [0, 1])
def test_a_get_in_the_middle_of_a_put_that_times_out_loses_nothing(maxsize: int) -> None:
    def make() -> Scenario:
        items: LightQueue[int] = filled(LightQueue(maxsize))

        def put() -> bool:
            try:
                items.put(7, timeout=SOON)
            except queue.Full:
                return False
            return True

        def get() -> list[int]:
            try:
                return [items.get(timeout=SOON / 5)]
            except queue.Empty:
                return []

        rivals = Rivals(get)

        def check(was_put: bool) -> None:
            got = [*rivals.results()[0], *(items.get_nowait() for _ in range(items.qsize()))]
            assert got == [*range(maxsize), *[7] * was_put]
            filled(items)
            with pytest.raises(queue.Full):
                items.put_nowait(9)

        return Scenario(put, rivals.start, check)

    try_each_step_natively(make)


def test_a_release_in_the_middle_of_an_rlocks_acquire_that_times_out_leaves_it_somebodys() -> None:
    def make() -> Scenario:
        lock = RLock()
        let_go = Semaphore(0)

        def hold() -> None:
            with lock:
                let_go.acquire()

        holder = Rival(hold)

        def release() -> None:
            let_go.release()
            spin_until(lambda: holder.ended)

        def acquire() -> tuple[bool, bool]:
            acquired = lock.acquire(timeout=SOON)
            return acquired, lock._is_owned()

        def check(result: tuple[bool, bool]) -> None:
            acquired, owned = result
            assert acquired == owned == lock.locked()
            assert len(lock._queue) == 0

        return Scenario(acquire, release, check)

    try_each_step_natively(make)


# Room that is taken away --------------------------------------------------------------------------------------------


def test_slots_that_are_withdrawn_in_the_middle_of_a_release_are_gone() -> None:
    def make() -> Scenario:
        slots = held(lambda: Slots(1))

        def check(_: Any) -> None:
            assert (slots.balance, slots.acquire(blocking=False)) == (0, False)

        return Scenario(slots.release, slots.withdraw, check)

    try_each_step(make)


def test_slots_that_are_given_back_in_the_middle_of_a_withdrawal_are_gone() -> None:
    def make() -> Scenario:
        slots = held(lambda: Slots(1))

        def check(_: Any) -> None:
            assert (slots.balance, slots.acquire(blocking=False)) == (0, False)

        return Scenario(slots.withdraw, slots.release, check)

    try_each_step(make)


def test_a_queue_that_shrinks_in_the_middle_of_a_get_has_no_room_left() -> None:
    def make() -> Scenario:
        items = filled(LightQueue(1))

        def check(item: int) -> None:
            assert item == 0
            with pytest.raises(queue.Full):
                items.put_nowait(1)

        return Scenario(items.get, lambda: items.resize(0), check)

    try_each_step(make)


# In the same thread, as a finalizer or a signal handler does ----------------------------------------------------------


@pytest.mark.parametrize("kind", [LightQueue, Queue, LifoQueue, PriorityQueue])
@pytest.mark.parametrize("call", ["put", "get"])
def test_an_item_that_is_put_in_the_middle_of_a_call_is_in_the_queue(kind: Callable[[], Any], call: str) -> None:
    def make() -> Scenario:
        items = kind()
        items.put(1)

        def check(item: int | None) -> None:
            left = sorted(items.get_nowait() for _ in range(items.qsize()))
            assert left + [item] * (call == "get") in ([1, 2, 3], [2, 1], [1, 2])

        return Scenario((lambda: items.put(3)) if call == "put" else items.get, lambda: items.put_nowait(2), check)

    try_each_step(make)


def use(lock: Any) -> None:
    assert lock.acquire(timeout=5) is True
    assert lock.acquire(timeout=5) is True
    lock.release()
    lock.release()


def test_an_rlock_can_be_used_in_the_middle_of_its_use() -> None:
    def make() -> Scenario:
        lock = RLock()

        def check(_: Any) -> None:
            assert (lock.locked(), len(lock._queue)) == (False, 0)

        return Scenario(lambda: use(lock), lambda: use(lock), check)

    try_each_step(make)


def test_an_rlock_can_be_used_in_the_middle_of_its_release_to_one_who_waits() -> None:
    def make() -> Scenario:
        lock = held(RLock)
        rivals = Rivals(lambda: use(lock))
        rivals.start()

        def check(_: Any) -> None:
            rivals.results()
            assert (lock.locked(), len(lock._queue)) == (False, 0)

        return Scenario(lock.release, lambda: use(lock), check)

    try_each_step(make)


@pytest.mark.parametrize("let_go_first", [True, False])
def test_an_rlock_can_be_used_in_the_middle_of_the_wait_for_it(let_go_first: bool) -> None:
    def make() -> Scenario:
        lock = RLock()
        let_go = Semaphore(0)

        def hold() -> None:
            with lock:
                let_go.acquire()

        holder = Rival(hold)

        def interrupt() -> None:
            user = get_ident()

            def release() -> None:
                if not let_go_first:
                    spin_until(lambda: is_parked(user) or len(lock._queue) == 2)
                let_go.release()

            releaser = OSThread(release)
            use(lock)
            releaser.wait()

        def check(_: Any) -> None:
            holder.wait()
            assert (lock.locked(), len(lock._queue), lock._claims) == (False, 0, {})

        return Scenario(lambda: use(lock), interrupt, check)

    try_each_step_of_a_wait(make)
