"""The cache of names, asked through a pool whose only thread is taken: what is not in the cache can't be answered."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greenserve import Timeout, spawn
from greenserve.net import cache_names, execute, resolver, set_num_threads
from greenserve.net.resolver import _Cache
from tests.sync.threads import Countdown, OSThread, frequent_thread_switches, until


@pytest.fixture(autouse=True)
def _no_cache_afterwards() -> Iterator[None]:
    yield
    cache_names(None)


@pytest.fixture
def take_threads() -> Iterator[Callable[[], None]]:
    """Call it, and from then on nothing can be looked up."""
    free = threading.Event()
    holders = []

    def take() -> None:
        set_num_threads(1)
        held = threading.Event()
        holders.append(spawn(execute, lambda: (held.set(), free.wait(10))))
        until(held.is_set)

    yield take
    free.set()
    for holder in holders:
        holder.wait()
    set_num_threads(20)


def is_looked_up(function: Callable[..., Any], *args: Any) -> bool:
    """Whether an answer needs the thread that is not there."""
    with Timeout(0.05, False):
        function(*args)
        return False
    return True


LOOKUPS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (resolver.getaddrinfo, ("localhost", 80)),
    (resolver.getaddrinfo, (b"localhost", "80", socket.AF_INET, socket.SOCK_STREAM)),
    (resolver.gethostbyname, ("localhost",)),
    (resolver.gethostbyname_ex, ("localhost",)),
]


@pytest.mark.parametrize(("function", "args"), LOOKUPS)
def test_by_default_each_name_is_looked_up_each_time(
    function: Any, args: Any, take_threads: Callable[[], None]
) -> None:
    function(*args)
    take_threads()
    assert is_looked_up(function, *args)


@pytest.mark.parametrize(("function", "args"), LOOKUPS)
def test_an_answer_is_used_again(function: Any, args: Any, take_threads: Callable[[], None]) -> None:
    cache_names(60)
    answer = function(*args)
    take_threads()
    assert not is_looked_up(function, *args)
    assert function(*args) == answer == getattr(socket, function.__name__)(*args)


def test_another_question_is_another_answer(take_threads: Callable[[], None]) -> None:
    cache_names(60)
    resolver.getaddrinfo("localhost", 80)
    take_threads()
    assert is_looked_up(resolver.getaddrinfo, "localhost", 81)
    assert is_looked_up(resolver.getaddrinfo, "localhost", 80, socket.AF_INET)
    assert is_looked_up(resolver.gethostbyname, "localhost")


def test_an_answer_belongs_to_the_caller() -> None:
    cache_names(60)
    first = resolver.getaddrinfo("localhost", 80)
    expected = list(first)
    first.clear()
    assert resolver.getaddrinfo("localhost", 80) == expected
    resolver.gethostbyname_ex("localhost")[2].clear()
    assert resolver.gethostbyname_ex("localhost")[2] == ["127.0.0.1"]


def test_an_answer_is_dropped_when_it_is_too_old(take_threads: Callable[[], None]) -> None:
    cache_names(1e-6)
    resolver.gethostbyname("localhost")
    take_threads()
    assert is_looked_up(resolver.gethostbyname, "localhost")


def test_the_oldest_answer_makes_room(take_threads: Callable[[], None]) -> None:
    cache_names(60, size=2)
    for port in (1, 2, 3):
        resolver.getaddrinfo("localhost", port)
    take_threads()
    assert [is_looked_up(resolver.getaddrinfo, "localhost", port) for port in (1, 2, 3)] == [True, False, False]


def test_a_name_that_was_not_found_is_looked_up_again(take_threads: Callable[[], None]) -> None:
    cache_names(60)
    with pytest.raises(socket.gaierror):
        resolver.getaddrinfo("no such name.invalid", 80)
    take_threads()
    assert is_looked_up(resolver.getaddrinfo, "no such name.invalid", 80)


def test_it_begins_empty_and_ends_when_it_is_switched_off(take_threads: Callable[[], None]) -> None:
    cache_names(60)
    resolver.gethostbyname("localhost")
    cache_names(60)
    take_threads()
    assert is_looked_up(resolver.gethostbyname, "localhost")


@pytest.mark.parametrize("args", [(5, 80), ("localhost", 80.0), (["localhost"], 80), ("localhost", {})])
def test_what_is_no_question_is_refused_as_ever(args: Any) -> None:
    cache_names(60)
    resolver.getaddrinfo("localhost", 80)
    with pytest.raises((TypeError, OSError)):
        resolver.getaddrinfo(*args)


@pytest.mark.parametrize("max_age", [0, -1, float("nan")])
def test_an_age_that_is_not_positive_is_refused(max_age: float) -> None:
    with pytest.raises(ValueError, match="a number of seconds, more than 0, or None"):
        cache_names(max_age)


def test_a_size_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="room for at least 1"):
        cache_names(60, size=0)


def test_os_threads_that_fill_it_at_once_leave_no_more_than_its_size() -> None:
    cache = _Cache(60, 8)
    clock = Countdown(0.3)

    def fill(offset: int) -> int:
        wrong = 0
        number = offset
        while clock.running:
            number += 1
            cache.keep(number % 50, number % 50)
            wrong += cache.find((number + 7) % 50) not in (None, (number + 7) % 50)
        return wrong

    with frequent_thread_switches():
        threads = [OSThread(lambda offset=offset: fill(offset)) for offset in range(4)]
        assert [thread.wait() for thread in threads] == [0] * 4
    cache.keep("last", 1)
    assert len(cache._answers) <= 8
    assert cache.find("last") == 1
