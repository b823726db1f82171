"""Queues between OS threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from greenserve import Queue, sleep, spawn
from greenserve.sync import Empty, Full
from tests.sync.queues import AnyQueue, any_queue
from tests.sync.threads import (
    Countdown,
    HubThread,
    OSThread,
    frequent_thread_switches,
    in_another_os_thread,
    in_any_thread,
    let_run,
    stress,
    until,
)


@any_queue
@in_another_os_thread
@pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
def test_items_go_from_one_os_thread_to_another_in_both_directions(
    kind: Callable[..., AnyQueue], os_thread: type[OSThread[Any]], maxsize: int | None
) -> None:
    there, back = kind(maxsize), kind(maxsize)

    def echo() -> None:
        for _ in range(30):
            back.put(there.get())

    other = os_thread(echo)
    got = []
    for item in range(30):
        there.put(item)
        got.append(back.get())
    assert got == list(range(30))
    other.wait()


@in_any_thread
@pytest.mark.parametrize("maxsize", [None, 0, 1])
def test_waiting_in_any_thread_ends_after_the_timeout(start: Callable[..., Any], maxsize: int | None) -> None:
    items: Queue[int] = Queue(maxsize)

    def wait() -> int:
        with pytest.raises(Empty):
            items.get(timeout=0.001)
        if maxsize == 1:
            items.put(1)
        if maxsize is not None:
            with pytest.raises(Full):
                items.put(2, timeout=0.001)
        return items.qsize()

    assert start(wait).wait() == (maxsize or 0)


def test_getters_of_all_kinds_are_served_in_one_order() -> None:
    items: Queue[int] = Queue()
    getters: list[Any] = []
    for start in (OSThread, spawn, HubThread, OSThread):
        getters.append(start(items.get))
        until(lambda: items.getting() == len(getters))
    for item in range(4):
        items.put(item)
        until(lambda item=item: items.empty())
        getters[item].wait()
    assert [getter.wait() for getter in getters] == [0, 1, 2, 3]


@any_queue
@pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
def test_no_item_is_lost_or_doubled_under_stress(kind: Callable[..., AnyQueue], maxsize: int | None) -> None:
    items = kind(maxsize)
    clock = Countdown(0.25)
    put: list[tuple[int, int]] = []
    got: list[tuple[int, int]] = []

    def produce(number: int) -> None:
        choose = random.Random(number)
        count = 0
        while clock.running:
            if items.qsize() > 200:
                sleep(0)
                continue
            try:
                items.put((number, count), timeout=choose.choice([0, 0.0005, 0.002]))
            except Full:
                continue
            put.append((number, count))
            count += 1

    def consume(seed: int) -> None:
        choose = random.Random(seed)
        while clock.running:
            try:
                got.append(items.get(timeout=choose.choice([0, 0.0005, 0.002])))
            except Empty:
                continue

    def be_killed(number: int) -> None:
        for count in range(2):
            items.put((number, count))
            put.append((number, count))
            got.append(items.get())

    def kill_others(first: int) -> None:
        number = first
        while clock.running:
            victims = []
            for _ in range(3):
                number += 1
                victims.append(spawn(be_killed, number))
            let_run(2)
            for victim in victims:
                victim.kill()

    def in_green_threads(number: int) -> list[Callable[[], Any]]:
        return [partial(produce, number), partial(consume, number), partial(kill_others, number * 1_000_000)]

    stress([partial(produce, 1), partial(consume, 2)], [in_green_threads(3), in_green_threads(4)])
    assert (items.getting(), items.putting()) == (0, 0)
    left = [items.get_nowait() for _ in range(items.qsize())]
    assert len(got) > 0
    assert sorted(put) == sorted(got + left)
    # And there is as much room as ever.
    if maxsize is not None:
        for item in range(maxsize):
            items.put_nowait((0, item))
        with pytest.raises(Full):
            items.put_nowait((0, 99))


@pytest.mark.parametrize("maxsize", [None, 0, 1, 3])
def test_one_getter_sees_the_items_of_each_putter_in_their_order(maxsize: int | None) -> None:
    items: Queue[tuple[int, int]] = Queue(maxsize)
    starters: list[Callable[..., Any]] = [OSThread, OSThread, HubThread, spawn]

    def produce(number: int) -> None:
        for count in range(100):
            items.put((number, count))

    with frequent_thread_switches():
        putters = [start(lambda number=number: produce(number)) for number, start in enumerate(starters)]
        got = [items.get(timeout=10) for _ in range(400)]
        for putter in putters:
            putter.wait()
    for number in range(len(starters)):
        assert [count for who, count in got if who == number] == list(range(100))


def test_join_returns_when_other_os_threads_have_done_the_work() -> None:
    items: Queue[int] = Queue(5)

    def work() -> int:
        done = 0
        while items.get() >= 0:
            items.task_done()
            done += 1
        items.task_done()
        return done

    workers: list[Any] = [OSThread(work), HubThread(work), spawn(work)]
    for item in range(90):
        items.put(item)
    assert items.join(10) is True
    for _ in workers:
        items.put(-1)
    assert sum(worker.wait() for worker in workers) == 90
    assert items.unfinished_tasks == 0
