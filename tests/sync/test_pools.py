from __future__ import annotations

import gc
import logging
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenserve import Event, GreenletExit, GreenPile, GreenPool, GreenThread, getcurrent, sleep, spawn
from tests.sync.threads import Countdown, HubThread, frequent_thread_switches, let_run, until


class OurError(Exception):
    pass


@pytest.fixture
def _failures_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="greenserve.core")


def double(number: int) -> int:
    return number * 2


def fail_at_one(number: int) -> int:
    if number == 1:
        raise OurError(number)
    return number


# GreenPool -----------------------------------------------------------------------------------------------------------


def test_a_pool_runs_functions_and_hands_out_their_green_threads() -> None:
    pool = GreenPool(2)
    thread = pool.spawn(divmod, 7, 2)
    assert isinstance(thread, GreenThread)
    assert thread.wait() == (3, 1)
    assert pool.spawn(dict, a=1).wait() == {"a": 1}


def test_spawn_waits_while_the_pool_is_full() -> None:
    pool = GreenPool(2)
    end: Event[None] = Event()
    assert (pool.size, pool.free(), pool.running(), pool.waiting()) == (2, 2, 0, 0)
    for _ in range(2):
        pool.spawn(end.wait)
    assert (pool.free(), pool.running(), pool.waiting()) == (0, 2, 0)
    third = spawn(pool.spawn, double, 4)
    let_run()
    assert (third.ended, pool.free(), pool.running(), pool.waiting()) == (False, 0, 2, 1)
    end.send()
    assert third.wait().wait() == 8
    pool.waitall()
    assert (pool.free(), pool.running(), pool.waiting()) == (2, 0, 0)


def test_those_who_wait_for_a_place_get_it_in_the_order_in_which_they_came() -> None:
    pool = GreenPool(1)
    order: list[int] = []
    end: Event[None] = Event()
    pool.spawn_n(end.wait)
    spawners = []
    for number in range(5):
        spawners.append(spawn(pool.spawn_n, order.append, number))
        let_run()
    end.send()
    for spawner in spawners:
        assert spawner.wait() is None
    pool.waitall()
    assert order == [0, 1, 2, 3, 4]


def test_one_who_is_killed_while_waiting_for_a_place_takes_none() -> None:
    pool = GreenPool(1)
    end: Event[None] = Event()
    pool.spawn(end.wait)
    victim = spawn(pool.spawn, double, 1)
    let_run()
    victim.kill()
    end.send()
    pool.waitall()
    assert (pool.free(), pool.waiting()) == (1, 0)


@pytest.mark.usefixtures("_failures_are_logged")
@pytest.mark.parametrize("end", ["returns", "fails", "is killed", "is killed before it runs", "is cancelled"])
@pytest.mark.parametrize("method", ["spawn", "spawn_n"])
def test_a_place_is_free_again_however_its_green_thread_ends(method: str, end: str) -> None:
    pool = GreenPool(1)
    seen: list[Any] = []

    def run() -> None:
        seen.append(getcurrent())
        if end == "fails":
            raise OurError
        if end == "is killed":
            sleep(60)

    getattr(pool, method)(run)
    (thread,) = pool._running
    if end == "is killed":
        let_run()
    if end.startswith("is killed"):
        thread.kill()  # type: ignore[attr-defined]  # a GreenThread
    if end == "is cancelled":
        thread.cancel()  # type: ignore[attr-defined]
    assert pool.waitall(5) is True
    assert len(seen) == (end in ("returns", "fails", "is killed"))
    assert (pool.free(), pool.running()) == (1, 0)


@pytest.mark.parametrize("depth", [1, 5])
def test_what_a_full_pools_own_green_thread_spawns_runs_while_that_waits(depth: int) -> None:
    pool = GreenPool(1)
    most: list[int] = []

    def nest(depth: int) -> int:
        most.append(pool.running())
        return pool.spawn(nest, depth - 1).wait() + 1 if depth else 0

    assert pool.spawn(nest, depth).wait() == depth
    assert max(most) == depth + 1
    assert (pool.free(), pool.running()) == (1, 0)


def test_what_a_pools_own_green_thread_spawns_runs_beside_it_while_there_is_room() -> None:
    pool = GreenPool(2)
    order: list[str] = []

    def outer() -> None:
        pool.spawn_n(order.append, "inner")
        order.append("outer")

    pool.spawn(outer).wait()
    pool.waitall()
    assert order == ["outer", "inner"]


@pytest.mark.usefixtures("_failures_are_logged")
def test_a_failure_of_what_runs_in_a_lent_place_is_its_own() -> None:
    pool = GreenPool(1)

    def outer() -> str:
        thread = pool.spawn(fail_at_one, 1)
        with pytest.raises(OurError):
            thread.wait()
        return "went on"

    assert pool.spawn(outer).wait() == "went on"


def test_one_who_is_killed_while_its_place_is_lent_ends_the_borrower_too() -> None:
    pool = GreenPool(1)
    ended: list[str] = []

    def inner() -> None:
        try:
            sleep(60)
        except GreenletExit:
            ended.append("inner")
            raise

    outer = pool.spawn(pool.spawn, inner)
    let_run()
    outer.kill()
    assert pool.waitall(5) is True
    assert ended == ["inner"]
    assert (pool.free(), pool.running()) == (1, 0)


def test_waitall_waits_until_nothing_runs() -> None:
    pool = GreenPool(3)
    assert pool.waitall() is True
    end: Event[None] = Event()
    pool.spawn(end.wait)
    assert pool.waitall(0.001) is False
    waiters = [spawn(pool.waitall) for _ in range(2)]
    let_run()
    assert [waiter.ended for waiter in waiters] == [False, False]
    end.send()
    assert [waiter.wait() for waiter in waiters] == [True, True]


def test_waitall_from_within_the_pool_is_refused() -> None:
    pool = GreenPool(2)

    def wait() -> bool:
        with pytest.raises(RuntimeError, match="itself"):
            pool.waitall()
        return True

    assert pool.spawn(wait).wait() is True


@pytest.mark.parametrize(("size", "running"), [(4, 4), (3, 3), (2, 2), (1, 1), (0, 0)])
def test_a_pool_can_be_resized(size: int, running: int) -> None:
    pool = GreenPool(2)
    end: Event[None] = Event()
    for _ in range(2):
        pool.spawn(end.wait)
    pool.resize(size)
    assert (pool.size, pool.free(), pool.running()) == (size, max(0, size - 2), 2)
    end.send()
    pool.waitall()
    assert (pool.free(), pool.running()) == (size, 0)
    end.reset()
    spawners = [spawn(pool.spawn, end.wait) for _ in range(5)]
    let_run()
    assert (pool.running(), pool.waiting()) == (running, 5 - running)
    end.send()
    pool.resize(5)
    for spawner in spawners:
        spawner.wait()
    pool.waitall()


@pytest.mark.parametrize("size", ["x", None, [3]])
def test_a_pool_whose_size_is_no_number_is_refused(size: Any) -> None:
    with pytest.raises(TypeError) as caught:
        GreenPool(size)
    assert str(caught.value) == f"GreenPool({size!r}): give a number of green threads, such as GreenPool(1000)"


@pytest.mark.parametrize("size", [-1, -100])
def test_a_pool_of_negative_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        GreenPool(size)
    with pytest.raises(ValueError, match=str(size)):
        GreenPool(1).resize(size)


def test_a_pool_keeps_no_green_thread_that_has_ended() -> None:
    pool = GreenPool(2)
    thread = pool.spawn(double, 1)
    thread.wait()
    gone = weakref.ref(thread)
    del thread
    let_run()
    gc.collect()
    assert gone() is None


def test_a_pool_serves_several_os_threads() -> None:
    pool = GreenPool(3)
    running: list[None] = []
    done: list[int] = []
    clock = Countdown(0.3)

    def run() -> None:
        running.append(None)
        assert len(running) <= 3
        sleep(0)
        running.pop()
        done.append(1)

    def use(seed: int) -> int:
        choose = random.Random(seed)
        count = 0
        while clock.running:
            pool.spawn_n(run)
            count += 1
            if choose.random() < 0.3:
                sleep(0)
        return count

    with frequent_thread_switches():
        threads: list[Any] = [
            HubThread(lambda: (use(1), pool.waitall())[0]),
            HubThread(lambda: (use(2), pool.waitall())[0]),
        ]
        count = use(3)
        count += sum(thread.wait() for thread in threads)
        until(lambda: pool.running() == 0)
    assert len(done) == count > 0
    assert (pool.free(), pool.waiting()) == (3, 0)


# imap and starmap ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 100])
def test_imap_yields_results_in_the_order_of_the_arguments(size: int) -> None:
    pool = GreenPool(size or 1)

    def work(number: int) -> int:
        sleep(0.002 if number % 2 else 0)
        return number * 2

    results = pool.imap(work, range(10))
    assert iter(results) is results
    assert list(results) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert list(results) == []


def test_imap_takes_an_argument_of_each_iterable_until_the_shortest_ends() -> None:
    assert list(GreenPool().imap(divmod, [7, 8, 9], [2, 3])) == [(3, 1), (2, 2)]


def test_starmap_takes_all_arguments_of_a_call_together() -> None:
    assert list(GreenPool().starmap(divmod, [(7, 2), [8, 3]])) == [(3, 1), (2, 2)]


def test_without_a_function_the_arguments_are_the_results() -> None:
    assert list(GreenPool().imap(None, [1, 2], [3, 4])) == [(1, 3), (2, 4)]


def test_imap_runs_its_calls_side_by_side() -> None:
    meeting: list[int] = []
    met: Event[None] = Event()

    def meet(number: int) -> int:
        meeting.append(number)
        if len(meeting) == 3:
            met.send()
        met.wait(5)
        return number

    assert list(GreenPool(3).imap(meet, range(3))) == [0, 1, 2]
    assert met.ready() is True


def test_imap_reads_only_as_far_ahead_as_the_pool_is_large() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = GreenPool(3).imap(double, numbers())
    let_run(20)
    assert taken == [0, 1, 2]
    assert next(results) == 0
    let_run(20)
    assert taken == [0, 1, 2, 3]


def test_imap_never_runs_more_at_a_time_than_the_pool_has_places() -> None:
    pool = GreenPool(3)
    end: Event[None] = Event()
    pool.spawn(end.wait)  # has a place too
    running: list[None] = []
    most: list[int] = []

    def work(number: int) -> int:
        running.append(None)
        most.append(len(running))
        sleep(0)
        running.pop()
        return number

    assert list(pool.imap(work, range(20))) == list(range(20))
    assert max(most) == 2
    end.send()
    pool.waitall()


@pytest.mark.usefixtures("_failures_are_logged")
def test_an_exception_comes_in_the_place_of_its_result_and_the_rest_after_it() -> None:
    results = GreenPool(2).imap(fail_at_one, range(4))
    assert next(results) == 0
    with pytest.raises(OurError):
        next(results)
    assert list(results) == [2, 3]


def test_an_exception_of_the_arguments_comes_after_the_results_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OurError

    results = GreenPool(2).imap(double, numbers())
    assert next(results) == 2
    with pytest.raises(OurError):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("used", [True, False])
def test_dropping_an_imap_ends_it(used: bool) -> None:
    pool = GreenPool(2)
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    arguments = numbers()
    results = pool.imap(double, arguments)
    if used:
        assert next(results) == 0
    let_run(20)
    gone = weakref.ref(arguments)
    del results, arguments
    let_run(20)
    gc.collect()
    assert gone() is None  # nobody holds the arguments any more
    assert taken == list(range(2 + used))
    assert (pool.free(), pool.running()) == (2, 0)


@pytest.mark.parametrize("size", [1, 2])
def test_an_imap_within_the_full_pool_itself_goes_on(size: int) -> None:
    pool = GreenPool(size)

    def outer(number: int) -> list[int]:
        return list(pool.imap(double, range(number)))

    assert list(pool.imap(outer, range(4))) == [[], [0], [0, 2], [0, 2, 4]]


# GreenPile -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [GreenPile, lambda: GreenPile(2), lambda: GreenPile(GreenPool(2))])
def test_a_pile_yields_results_in_the_order_of_their_spawning(make: Callable[[], GreenPile[int]]) -> None:
    pile = make()

    def work(number: int) -> int:
        sleep(0.001 * (5 - number))
        return number

    for number in range(5):
        pile.spawn(work, number)
    assert list(pile) == [0, 1, 2, 3, 4]


def test_a_pile_without_calls_has_no_results() -> None:
    assert list(GreenPile[int](2)) == []


def test_a_pile_can_be_filled_again() -> None:
    pile: GreenPile[int] = GreenPile(2)
    for first in (1, 10):
        pile.spawn(double, first)
        assert pile.next() == 2 * first
        with pytest.raises(StopIteration):
            pile.next()


def test_a_pile_waits_for_calls_that_still_wait_for_a_place() -> None:
    pile: GreenPile[int] = GreenPile(1)

    def fill() -> None:
        for number in range(4):
            pile.spawn(double, number)

    filler = spawn(fill)
    let_run(1)
    assert list(pile) == [0, 2, 4, 6]
    filler.wait()


@pytest.mark.usefixtures("_failures_are_logged")
def test_an_exception_in_a_pile_comes_in_the_place_of_its_result() -> None:
    pile: GreenPile[int] = GreenPile(2)
    for number in range(3):
        pile.spawn(fail_at_one, number)
    assert next(pile) == 0
    with pytest.raises(OurError):
        next(pile)
    assert list(pile) == [2]


def test_piles_may_share_a_pool() -> None:
    pool = GreenPool(2)
    piles: list[GreenPile[int]] = [GreenPile(pool), GreenPile(pool)]
    for number in range(3):
        for pile in piles:
            pile.spawn(double, number)
    assert [list(pile) for pile in piles] == [[0, 2, 4], [0, 2, 4]]
    assert piles[0].pool is pool


def test_one_who_waits_for_the_result_of_a_call_that_never_came_goes_on() -> None:
    pile: GreenPile[int] = GreenPile(1)
    end: Event[None] = Event()
    pile.pool.spawn(end.wait)
    victim = spawn(pile.spawn, double, 1)
    let_run()
    taker = spawn(list, pile)
    let_run()
    victim.kill()
    assert taker.wait() == []
    end.send()
    pile.pool.waitall()


def test_a_taker_that_is_killed_leaves_the_result_to_the_next() -> None:
    pile: GreenPile[int] = GreenPile(1)
    end: Event[None] = Event()
    pile.pool.spawn(end.wait)
    spawner = spawn(pile.spawn, double, 1)
    let_run()
    victim = spawn(next, pile)
    let_run()
    victim.kill()
    end.send()
    spawner.wait()
    assert list(pile) == [2]


def test_a_pile_keeps_no_green_thread_whose_result_was_taken() -> None:
    pile: GreenPile[int] = GreenPile(2)
    found: list[weakref.ref[Any]] = []
    for _ in range(3):
        pile.spawn(lambda: found.append(weakref.ref(getcurrent())))
    assert list(pile) == [None, None, None]
    let_run()
    gc.collect()
    assert [gone() for gone in found] == [None, None, None]
