"""What is measured of a green-thread library, written once for all of them. Knows no library, and no clock."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["OPERATIONS", "Library", "Operation", "hold", "over"]

SLEEPERS = 1_000
# Short enough that while a thousand sleepers are served the next ones are due already: waiting takes no part of the
# time.
SLEEP_TIMES = [0.0001 * step for step in range(1, 11)]


@dataclass(frozen=True)
class Library:
    """The names of one library. Functions are called as they are, so that no wrapper of ours is measured."""

    spawn: Callable[..., Any]
    join: Callable[[Any], Any]
    sleep: Callable[[float], Any]
    queue: Callable[[int], Any]
    semaphore: Callable[[int], Any]
    socketpair: Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Operation:
    """One row of the table: what it says there, how often a measurement does it, and how."""

    name: str
    title: str
    count: int
    do: Callable[[Library, int], None]


def over(library: Library) -> dict[str, Callable[[int], None]]:
    """Return all operations, bound to ``library``."""
    return {operation.name: functools.partial(operation.do, library) for operation in OPERATIONS}


def hold(library: Library, count: int) -> None:
    """Leave ``count`` green threads asleep for an hour. May switch."""
    unstarted = count

    def nap() -> None:
        nonlocal unstarted
        unstarted -= 1
        library.sleep(3600)

    for _ in range(count):
        library.spawn(nap)
    # One that has not begun takes less. A hub may start them in portions.
    while unstarted:
        library.sleep(0)


def spawn_and_join(library: Library, count: int) -> None:
    spawn, join = library.spawn, library.join
    for _ in range(count):
        join(spawn(_nothing))


def switch(library: Library, count: int) -> None:
    sleep = library.sleep
    for _ in range(count):
        sleep(0)


def queue_uncontended(library: Library, count: int) -> None:
    queue = library.queue(16)
    put, get = queue.put, queue.get
    for _ in range(count):
        put(None)
        get()


def queue_hand_off(library: Library, count: int) -> None:
    queue = library.queue(1)

    def consume() -> None:
        get = queue.get
        for _ in range(count):
            get()

    consumer = library.spawn(consume)
    put = queue.put
    for _ in range(count):
        put(None)
    library.join(consumer)


def semaphore_uncontended(library: Library, count: int) -> None:
    semaphore = library.semaphore(1)
    acquire, release = semaphore.acquire, semaphore.release
    for _ in range(count):
        acquire()
        release()


def semaphore_contended(library: Library, count: int) -> None:
    """Two green threads release each other in turn, so that each acquire parks."""
    mine, other = library.semaphore(0), library.semaphore(0)

    def answer() -> None:
        acquire, release = other.acquire, mine.release
        for _ in range(count // 2):
            acquire()
            release()

    answerer = library.spawn(answer)
    acquire, release = mine.acquire, other.release
    for _ in range(count // 2):
        release()
        acquire()
    library.join(answerer)


def timers(library: Library, count: int) -> None:
    """Many green threads sleep at once, each again and again for a short time of its own."""

    def keep_sleeping(seconds: float) -> None:
        sleep = library.sleep
        for _ in range(count // SLEEPERS):
            sleep(seconds)

    sleepers = [library.spawn(keep_sleeping, SLEEP_TIMES[i % len(SLEEP_TIMES)]) for i in range(SLEEPERS)]
    for sleeper in sleepers:
        library.join(sleeper)


def ping_pong(library: Library, count: int) -> None:
    here, there = library.socketpair()

    def answer() -> None:
        recv, send = there.recv, there.send
        for _ in range(count):
            send(recv(1))

    answerer = library.spawn(answer)
    recv, send = here.recv, here.send
    for _ in range(count):
        send(b"x")
        recv(1)
    library.join(answerer)
    here.close()
    there.close()


def _nothing() -> None:
    pass


OPERATIONS = (
    Operation("spawn", "spawn and join", 10_000, spawn_and_join),
    Operation("switch", "sleep(0), nothing else to run", 50_000, switch),
    Operation("queue", "queue put and get, uncontended", 200_000, queue_uncontended),
    Operation("hand_off", "queue(1) hand-off", 20_000, queue_hand_off),
    Operation("semaphore", "semaphore acquire and release, uncontended", 200_000, semaphore_uncontended),
    Operation("semaphore_contended", "semaphore, each acquire parks", 20_000, semaphore_contended),
    Operation("timer", "sleep of 0.1 to 1 ms, 1,000 sleepers", 50_000, timers),
    Operation("ping_pong", "socketpair ping-pong, round trip", 5_000, ping_pong),
)
