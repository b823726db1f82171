from __future__ import annotations

import queue
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve import GreenletExit, GreenThread, LifoQueue, LightQueue, PriorityQueue, Queue, spawn
from greenserve.sync import Empty, Full
from tests.sync.queues import ALL, AnyQueue, any_queue, kill_after
from tests.sync.threads import (
    in_any_thread,
    let_run,
    run_in_new_process,
)


@pytest.mark.parametrize(
    ("kind", "order"),
    [(LightQueue, [2, 3, 1]), (Queue, [2, 3, 1]), (LifoQueue, [1, 3, 2]), (PriorityQueue, [1, 2, 3])],
)
def test_items_come_out_in_the_order_of_the_queue(kind: Callable[[], AnyQueue], order: list[int]) -> None:
    items = kind()
    for item in (2, 3, 1):
        items.put(item)
    assert items.qsize() == 3
    assert [items.get() for _ in order] == order
    assert items.empty() is True


def test_empty_and_full_are_the_standard_librarys() -> None:
    assert (Empty, Full) == (queue.Empty, queue.Full)


@any_queue
@pytest.mark.parametrize("maxsize", [None, -1, 1, 0])
@pytest.mark.parametrize("timeout", [0, 0.001])
def test_an_empty_queue_is_empty_after_the_timeout(
    kind: Callable[..., AnyQueue], maxsize: int | None, timeout: float
) -> None:
    items = kind(maxsize)
    for get in (items.get_nowait, lambda: items.get(False), lambda: items.get(timeout=timeout)):
        with pytest.raises(Empty):
            get()
    assert (items.getting(), items.qsize()) == (0, 0)


@any_queue
@pytest.mark.parametrize("maxsize", [0, 1, 3])
@pytest.mark.parametrize("timeout", [0, 0.001])
def test_a_full_queue_is_full_after_the_timeout(kind: Callable[..., AnyQueue], maxsize: int, timeout: float) -> None:
    items = kind(maxsize)
    for number in range(maxsize):
        assert items.full() is False
        items.put(number)
    assert items.full() is True
    for put in (items.put_nowait, lambda item: items.put(item, False), lambda item: items.put(item, timeout=timeout)):
        with pytest.raises(Full):
            put(99)
    assert (items.putting(), items.qsize()) == (0, maxsize)
    assert sorted(items.get() for _ in range(maxsize)) == list(range(maxsize))


@any_queue
@pytest.mark.parametrize("maxsize", [0, 1])
def test_nobody_waits_for_a_negative_time(kind: Callable[..., AnyQueue], maxsize: int) -> None:
    items = kind(maxsize)
    with pytest.raises(ValueError, match="not -1"):
        items.get(timeout=-1)
    for number in range(maxsize):
        items.put(number)
    with pytest.raises(ValueError, match=r"not -0\.5"):
        items.put(99, timeout=-0.5)
    assert (items.getting(), items.putting(), items.qsize()) == (0, 0, maxsize)


@pytest.mark.parametrize("maxsize", [None, -5])
def test_a_queue_without_a_limit_is_never_full(maxsize: int | None) -> None:
    items: LightQueue[int] = LightQueue(maxsize)
    for number in range(1000):
        items.put_nowait(number)
    assert (items.maxsize, items.full(), items.qsize()) == (None, False, 1000)


@any_queue
def test_those_who_get_are_served_in_the_order_in_which_they_came(kind: Callable[..., AnyQueue]) -> None:
    items = kind()
    getters = [spawn(items.get) for _ in range(3)]
    let_run()
    assert items.getting() == 3
    for item in range(3):
        items.put(item)
        let_run()
    assert [getter.wait() for getter in getters] == [0, 1, 2]


@pytest.mark.parametrize("maxsize", [0, 1, 2])
def test_those_who_put_are_served_in_the_order_in_which_they_came(maxsize: int) -> None:
    items: Queue[int] = Queue(maxsize)
    putters = [spawn(items.put, item) for item in range(5)]
    let_run()
    assert (items.putting(), items.qsize()) == (5 - maxsize, maxsize)
    assert [items.get() for _ in putters] == [0, 1, 2, 3, 4]
    for putter in putters:
        putter.wait()
    assert items.putting() == 0


def test_a_newcomer_does_not_get_the_item_of_one_who_waits() -> None:
    items: Queue[int] = Queue()
    getter = spawn(items.get)
    let_run()
    items.put(1)
    with pytest.raises(Empty):
        items.get_nowait()
    assert getter.wait() == 1


def test_a_getter_that_is_killed_leaves_its_item_in_place() -> None:
    items: Queue[int] = Queue()
    victim = spawn(items.get)
    let_run()

    def put_two() -> None:
        items.put(1)
        items.put(2)

    kill_after(put_two, victim)
    with pytest.raises(GreenletExit):
        victim.wait()
    assert [items.get_nowait(), items.get_nowait()] == [1, 2]


def test_the_item_of_a_getter_that_is_killed_goes_to_the_next() -> None:
    items: Queue[int] = Queue()
    victim, survivor = spawn(items.get), spawn(items.get)
    let_run()
    kill_after(lambda: items.put(1), victim)
    assert survivor.wait() == 1


@pytest.mark.parametrize("maxsize", [0, 1])
def test_the_room_of_a_putter_that_is_killed_goes_to_the_next(maxsize: int) -> None:
    items: Queue[str] = Queue(maxsize)
    for _ in range(maxsize):
        items.put("first")
    victim, survivor = spawn(items.put, "victim"), spawn(items.put, "survivor")
    let_run()
    if maxsize:
        kill_after(items.get, victim)
    else:
        getter = spawn(items.get)
        victim.kill()
        let_run()
        assert getter.wait() == "survivor"
        return
    assert items.get() == "survivor"
    survivor.wait()
    assert (items.qsize(), items.putting()) == (0, 0)


# A channel -----------------------------------------------------------------------------------------------------------


@any_queue
def test_a_put_into_a_channel_waits_for_a_getter(kind: Callable[..., AnyQueue]) -> None:
    channel = kind(0)
    putter = spawn(channel.put, 1)
    let_run()
    assert (putter.ended, channel.qsize(), channel.putting(), channel.full(), channel.empty()) == (
        False,
        0,
        1,
        True,
        True,
    )
    assert channel.get() == 1
    putter.wait()
    assert channel.putting() == 0


@any_queue
def test_a_put_into_a_channel_where_a_getter_waits_returns_at_once(kind: Callable[..., AnyQueue]) -> None:
    channel = kind(0)
    getter = spawn(channel.get)
    let_run()
    channel.put_nowait(1)
    with pytest.raises(Full):
        channel.put_nowait(2)
    assert getter.wait() == 1
    with pytest.raises(Full):
        channel.put_nowait(3)


@pytest.mark.parametrize("granted", [True, False])
def test_a_getter_of_a_channel_that_is_killed_takes_its_room_along(granted: bool) -> None:
    channel: LightQueue[int] = LightQueue(0)
    victim = spawn(channel.get)
    let_run()
    if granted:
        kill_after(lambda: channel.put_nowait(1), victim)
    else:
        victim.kill()
    with pytest.raises(Full):
        channel.put_nowait(2)
    assert channel.qsize() == granted
    if granted:
        assert channel.get() == 1  # it was put for a getter, so the next one has it
    with pytest.raises(Full):
        channel.put_nowait(3)


# Resizing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("maxsize", "admitted"), [(2, 1), (4, 3), (None, 3), (-1, 3)])
def test_a_larger_queue_lets_in_those_who_wait(maxsize: int | None, admitted: int) -> None:
    items: Queue[int] = Queue(1)
    items.put(0)
    putters = [spawn(items.put, item) for item in (1, 2, 3)]
    let_run()
    items.resize(maxsize)
    let_run()
    assert (items.qsize(), items.putting()) == (1 + admitted, 3 - admitted)
    assert items.maxsize == (None if maxsize is None or maxsize < 0 else maxsize)
    assert [items.get() for _ in range(4)] == [0, 1, 2, 3]
    for putter in putters:
        putter.wait()


def test_a_smaller_queue_keeps_its_items_and_admits_none_until_there_is_room_again() -> None:
    items: Queue[int] = Queue(3)
    for item in range(3):
        items.put(item)
    items.resize(1)
    assert (items.full(), items.maxsize, items.get(), items.get()) == (True, 1, 0, 1)
    with pytest.raises(Full):
        items.put_nowait(3)
    assert items.get() == 2
    items.put_nowait(3)
    with pytest.raises(Full):
        items.put_nowait(4)


def test_a_channel_can_become_a_queue_and_a_channel_again() -> None:
    items: Queue[int] = Queue(0)
    items.resize(1)
    items.put_nowait(1)
    items.resize(0)
    assert items.get_nowait() == 1
    with pytest.raises(Full):
        items.put_nowait(2)


def test_a_queue_without_a_limit_can_not_be_given_one() -> None:
    items: Queue[int] = Queue()
    with pytest.raises(ValueError, match="without a limit"):
        items.resize(1)
    items.resize(None)
    assert items.maxsize is None


# Work that is done ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Queue, LifoQueue, PriorityQueue])
def test_join_waits_until_the_work_on_every_item_is_done(kind: Callable[..., AnyQueue]) -> None:
    items = kind()
    assert items.join() is True
    for item in range(2):
        items.put(item)
    joiners = [spawn(items.join) for _ in range(2)]
    for left in (2, 1):
        items.get()
        let_run()
        assert (items.unfinished_tasks, [joiner.ended for joiner in joiners]) == (left, [False, False])
        items.task_done()
    assert [joiner.wait() for joiner in joiners] == [True, True]
    assert items.unfinished_tasks == 0


def test_work_can_not_be_done_more_often_than_items_were_put() -> None:
    items: Queue[int] = Queue()
    items.put(1)
    items.task_done()
    with pytest.raises(ValueError, match="more often"):
        items.task_done()


@in_any_thread
def test_join_gives_up_after_its_timeout(start: Callable[..., Any]) -> None:
    items: Queue[int] = Queue()
    items.put(1)
    assert start(lambda: items.join(0.001)).wait() is False


def test_an_item_that_was_not_put_is_no_work() -> None:
    items: Queue[int] = Queue(1)
    items.put(1)
    with pytest.raises(Full):
        items.put_nowait(2)
    assert items.unfinished_tasks == 1


# Priorities ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maxsize", [None, 2])
def test_an_item_that_can_not_be_compared_is_the_putters_error_and_takes_no_room(maxsize: int | None) -> None:
    items: PriorityQueue[Any] = PriorityQueue(maxsize)
    items.put(1)
    for _ in range(3):
        with pytest.raises(TypeError):
            items.put("text")
    assert (items.qsize(), items.full(), items.unfinished_tasks) == (1, False, 1)
    items.put(0)
    assert (items.get(), items.get(), items.empty()) == (0, 1, True)


class CanNotBeCompared:
    """An item whose comparison fails from a time on."""

    failing = False

    def __lt__(self, other: object) -> bool:
        if self.failing:
            raise OverflowError
        return True


def test_an_item_that_can_not_be_compared_any_more_is_the_getters_error_and_leaves_its_room() -> None:
    items: PriorityQueue[CanNotBeCompared] = PriorityQueue(3)
    put = [CanNotBeCompared() for _ in range(3)]
    for item in put:
        items.put(item)
    for item in put:
        item.failing = True
    with pytest.raises(OverflowError):
        items.get()
    assert (items.qsize(), items.full()) == (2, False)
    items.resize(2)
    with pytest.raises(Full):
        items.put_nowait(CanNotBeCompared())


class PutsMore:
    """An item that puts another one while it is being compared, as a signal handler could."""

    def __init__(self, items: PriorityQueue[Any], rank: int) -> None:
        self.items = items
        self.rank = rank

    def __lt__(self, other: PutsMore) -> bool:
        if self.rank < 3:
            self.items.put(PutsMore(self.items, self.rank + 10))
        return self.rank < other.rank


def test_an_item_may_be_put_in_the_middle_of_putting_another() -> None:
    items: PriorityQueue[PutsMore] = PriorityQueue()
    for rank in (2, 1, 0):
        items.put(PutsMore(items, rank))
    ranks = [items.get().rank for _ in range(3)]
    assert ranks == [0, 1, 2]
    rest = [items.get().rank for _ in range(items.qsize())]
    assert rest == sorted(rest)
    assert set(rest) <= {10, 11, 12}


# By a model ----------------------------------------------------------------------------------------------------------


class Model:
    """What a queue of ``maxsize`` does, when everybody who can go on does so before the next call."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.items: deque[int] = deque()
        self.getters: deque[int] = deque()
        self.putters: deque[tuple[int, int]] = deque()
        self.results: dict[int, int | None] = {}  # who: the item it got, or None when it put

    def settle(self) -> None:
        """Move items for as long as that is possible."""
        while True:
            if self.items and self.getters:
                self.results[self.getters.popleft()] = self.items.popleft()
            elif self.putters and (len(self.items) < self.maxsize or self.getters):
                who, item = self.putters.popleft()
                self.items.append(item)
                self.results[who] = None
            else:
                return

    def kill(self, who: int) -> None:
        self.getters = deque(other for other in self.getters if other != who)
        self.putters = deque(entry for entry in self.putters if entry[0] != who)


CALLS = st.lists(
    st.one_of(
        st.just(("put", 0)),
        st.just(("get", 0)),
        st.tuples(st.just("kill"), st.integers(0, 10)),
        st.tuples(st.just("resize"), st.integers(0, 4)),
    ),
    max_size=40,
)


@given(st.integers(0, 3), CALLS)
def test_a_queue_does_what_its_model_does(maxsize: int, calls: list[tuple[str, int]]) -> None:
    items: Queue[int] = Queue(maxsize)
    model = Model(maxsize)
    threads: list[GreenThread[Any]] = []
    for call, argument in calls:
        who = len(threads)
        if call == "put":
            threads.append(spawn(items.put, who))
            model.putters.append((who, who))
        elif call == "get":
            threads.append(spawn(items.get))
            model.getters.append(who)
        elif call == "kill" and argument < who:
            threads[argument].kill()
            model.kill(argument)
        elif call == "resize":
            items.resize(argument)
            model.maxsize = argument
        let_run()
        model.settle()
        results = {who: thread.wait() for who, thread in enumerate(threads) if thread.ended and not _was_killed(thread)}
        assert results == model.results
        assert (items.qsize(), items.getting(), items.putting()) == tuple(
            map(len, (model.items, model.getters, model.putters))
        )
    for thread in threads:
        thread.kill()


@given(st.integers(0, 3), CALLS, st.randoms(use_true_random=False))
def test_whatever_the_order_of_calls_no_item_and_no_room_is_lost(
    maxsize: int, calls: list[tuple[str, int]], choose: random.Random
) -> None:
    items: Queue[int] = Queue(maxsize)
    threads: list[GreenThread[Any]] = []
    for call, argument in calls:
        if call == "put":
            threads.append(spawn(items.put, len(threads)))
        elif call == "get":
            threads.append(spawn(items.get))
        elif call == "kill" and argument < len(threads):
            threads[argument].kill()
        elif call == "resize":
            maxsize = argument
            items.resize(maxsize)
        if choose.random() < 0.3:
            let_run(1)
    let_run()
    for thread in threads:
        thread.kill()
    results = [thread.wait() for thread in threads if not _was_killed(thread)]
    got = sorted(item for item in results if item is not None)
    left = sorted(items.get_nowait() for _ in range(items.qsize()))
    assert len(got) + len(left) == results.count(None)
    assert len(set(got + left)) == len(got + left)
    for item in range(maxsize):
        items.put_nowait(item)
    with pytest.raises(Full):
        items.put_nowait(99)


def _was_killed(thread: GreenThread[Any]) -> bool:
    try:
        thread.wait()
    except GreenletExit:
        return True
    return False


# In a process of its own ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind.__name__ for kind in ALL])
def test_a_signal_handler_may_put(kind: str) -> None:
    script = f"""
import os, signal, threading
from greenserve import {kind}
items = {kind}()
signal.signal(signal.SIGUSR1, lambda number, frame: items.put_nowait(number == signal.SIGUSR1))
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
print(items.get(timeout=10))
"""
    assert run_in_new_process(script) == "True\n"
