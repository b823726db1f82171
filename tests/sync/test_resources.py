from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from greenserve import sleep, spawn
from greenserve.sync import Pool, TokenPool
from tests.sync.threads import (
    Countdown,
    HubThread,
    OSThread,
    frequent_thread_switches,
    in_any_thread,
    let_run,
)


def numbered(**options: Any) -> Pool[int]:
    """A pool whose items are numbered in the order in which they are made."""
    return Pool(create=itertools.count().__next__, **options)


def test_items_are_made_when_they_are_needed_and_at_most_max_size_of_them() -> None:
    pool = numbered(max_size=2)
    assert (pool.free(), pool.max_size) == (2, 2)
    assert [pool.get(), pool.get()] == [0, 1]
    assert pool.free() == 0
    with pytest.raises(TimeoutError, match="no item of the pool came free"):
        pool.get(timeout=0.001)
    pool.put(0)
    assert (pool.free(), pool.get()) == (1, 0)


def test_min_size_items_are_made_at_once() -> None:
    made: list[int] = []

    def create() -> int:
        made.append(len(made))
        return made[-1]

    pool = Pool(min_size=2, max_size=3, create=create)
    assert made == [0, 1]
    assert [pool.get() for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(("as_stack", "expected"), [(False, [0, 1, 2]), (True, [2, 1, 0])])
def test_items_are_used_in_turn_or_as_a_stack(as_stack: bool, expected: list[int]) -> None:
    pool = numbered(max_size=3, order_as_stack=as_stack)
    for item in [pool.get() for _ in range(3)]:
        pool.put(item)
    assert [pool.get() for _ in range(3)] == expected


def test_those_who_wait_get_items_in_the_order_in_which_they_came() -> None:
    pool = numbered(max_size=1)
    pool.get()
    order: list[int] = []

    def use(number: int) -> None:
        with pool.item() as item:
            order.append(number)
            assert item == 0
            sleep(0)

    users = [spawn(use, number) for number in range(4)]
    let_run()
    assert (pool.waiting(), order) == (4, [])
    pool.put(0)
    for user in users:
        user.wait()
    assert order == [0, 1, 2, 3]


def test_an_item_comes_back_from_a_block_that_fails() -> None:
    pool = numbered(max_size=1)
    with pytest.raises(KeyError), pool.item():
        raise KeyError
    assert pool.free() == 1


def test_an_item_that_can_not_be_made_leaves_its_place_free() -> None:
    def fail() -> int:
        raise OSError("refused")

    pool = Pool(max_size=1, create=fail)
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            pool.get()
    assert pool.free() == 1


def test_a_subclass_may_say_how_items_are_made() -> None:
    class Lists(Pool[list[int]]):
        def create(self) -> list[int]:
            return []

    assert Lists().get() == []
    with pytest.raises(NotImplementedError, match="create"):
        Pool().get()


def test_a_larger_pool_serves_those_who_wait() -> None:
    pool = numbered(max_size=1)
    pool.get()
    waiter = spawn(pool.get)
    let_run()
    pool.resize(2)
    assert waiter.wait() == 1


def test_a_smaller_pool_drops_what_is_too_much() -> None:
    pool = numbered(max_size=4)
    items = [pool.get() for _ in range(4)]
    pool.put(items.pop())
    pool.put(items.pop())
    pool.resize(1)  # two are idle, two in use
    assert pool.free() == 0
    pool.put(items.pop())
    assert pool.free() == 0
    pool.put(items.pop())
    assert pool.free() == 1
    assert pool.get() == 0
    with pytest.raises(TimeoutError):
        pool.get(0)


class Aging(Pool[int]):
    """Numbered items, of which some have become useless."""

    def __init__(self, **options: Any) -> None:
        self.disposed: list[int] = []
        self.useless: set[int] = set()
        super().__init__(create=itertools.count().__next__, **options)

    def dispose(self, item: int) -> None:
        self.disposed.append(item)

    def is_usable(self, item: int) -> bool:
        return item not in self.useless


def test_an_item_that_is_discarded_makes_room_for_another() -> None:
    pool = Aging(max_size=1)
    pool.discard(pool.get())
    assert (pool.disposed, pool.free(), pool.get()) == ([0], 1, 1)


def test_an_item_that_is_discarded_after_the_pool_has_shrunk_makes_no_room() -> None:
    pool = Aging(max_size=2)
    items = [pool.get(), pool.get()]
    pool.resize(1)
    pool.discard(items[0])
    assert pool.free() == 0
    pool.discard(items[1])
    assert (pool.disposed, pool.free()) == ([0, 1], 1)


def test_an_idle_item_that_has_become_useless_is_disposed_of_instead_of_handed_out() -> None:
    pool = Aging(min_size=3, max_size=3)
    pool.useless = {0, 1}
    assert [pool.get(), pool.get()] == [2, 3]
    assert pool.disposed == [0, 1]


@pytest.mark.parametrize(("as_stack", "expected"), [(False, [0, 2, 3]), (True, [3, 2, 0])])
def test_useless_idle_items_can_be_disposed_of_while_the_others_keep_their_order(
    as_stack: bool, expected: list[int]
) -> None:
    pool = Aging(max_size=4, order_as_stack=as_stack)
    for item in [pool.get() for _ in range(4)]:
        pool.put(item)
    pool.useless = {1}
    pool.prune()
    assert (pool.disposed, pool.idle(), pool.free()) == ([1], 3, 4)
    assert [pool.get() for _ in range(3)] == expected


def test_all_idle_items_can_be_disposed_of_and_those_in_use_stay() -> None:
    pool = Aging(min_size=3, max_size=3)
    held = pool.get()
    pool.clear()
    assert (sorted(pool.disposed), pool.idle(), pool.free()) == ([1, 2], 0, 2)
    pool.put(held)
    assert pool.get() == held


def test_what_a_smaller_pool_drops_is_disposed_of() -> None:
    pool = Aging(min_size=3, max_size=3)
    held = pool.get()
    pool.resize(0)
    assert sorted(pool.disposed) == [1, 2]
    pool.put(held)
    assert sorted(pool.disposed) == [0, 1, 2]


@pytest.mark.parametrize(("min_size", "max_size"), [(-1, 1), (2, 1), (0, -1)])
def test_sizes_that_make_no_sense_are_refused(min_size: int, max_size: int) -> None:
    with pytest.raises(ValueError, match=str(max_size)):
        numbered(min_size=min_size, max_size=max_size)
    if min_size == 0:
        with pytest.raises(ValueError, match=str(max_size)):
            numbered().resize(max_size)


@in_any_thread
def test_a_token_is_a_right_that_any_thread_may_have(start: Callable[..., Any]) -> None:
    tokens = TokenPool(max_size=1)
    token = start(tokens.get).wait()
    with pytest.raises(TimeoutError):
        start(lambda: tokens.get(timeout=0)).wait()
    tokens.put(token)
    assert start(tokens.get).wait() is token


def test_no_item_is_used_by_two_at_a_time_under_stress() -> None:
    pool = numbered(max_size=3)
    in_use: list[int] = []
    clock = Countdown(0.3)

    def use() -> int:
        count = 0
        while clock.running:
            with pool.item(timeout=10) as item:
                assert item not in in_use
                in_use.append(item)
                sleep(0)
                in_use.remove(item)
                count += 1
        return count

    def use_natively() -> int:
        count = 0
        while clock.running:
            with pool.item(timeout=10) as item:
                assert item not in in_use
                in_use.append(item)
                in_use.remove(item)
                count += 1
        return count

    with frequent_thread_switches():
        threads: list[Any] = [OSThread(use_natively), OSThread(use_natively), HubThread(use), spawn(use), spawn(use)]
        assert all(thread.wait() > 0 for thread in threads)
    assert pool.free() == 3
    assert sorted(pool.get() for _ in range(3)) == [0, 1, 2]
