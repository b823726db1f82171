"""The floor: what bare greenlets and the standard library do for the same effect, without a hub, fairness or time.

A row is missing where nothing simpler has the same effect.
"""

from __future__ import annotations

import collections
import socket
import threading
from typing import Any

import greenlet

__all__ = ["OPERATIONS", "hold"]


def spawn_and_join(count: int) -> None:
    for _ in range(count):
        greenlet.greenlet(_nothing).switch()


def switch(count: int) -> None:
    """There and back: a wait goes to the hub and returns from it."""
    here = greenlet.getcurrent()

    def bounce() -> None:
        while True:
            here.switch()

    there = greenlet.greenlet(bounce).switch
    for _ in range(count):
        there()


def queue_uncontended(count: int) -> None:
    queue: collections.deque[None] = collections.deque()
    put, get = queue.append, queue.popleft
    for _ in range(count):
        put(None)
        get()


def queue_hand_off(count: int) -> None:
    """An item passes with the switch."""
    here = greenlet.getcurrent()

    def consume(item: Any) -> None:
        while True:
            item = here.switch(item)

    put = greenlet.greenlet(consume).switch
    for _ in range(count):
        put(None)


def semaphore_uncontended(count: int) -> None:
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release
    for _ in range(count):
        acquire()
        release()


def ping_pong(count: int) -> None:
    """The same sends, receives and switches, without asking anybody whether there is something to receive."""
    here, there = socket.socketpair()
    main = greenlet.getcurrent()

    def answer() -> None:
        recv, send, back = there.recv, there.send, main.switch
        while True:
            send(recv(1))
            back()

    wake = greenlet.greenlet(answer).switch
    recv, send = here.recv, here.send
    for _ in range(count):
        send(b"x")
        wake()
        recv(1)
    here.close()
    there.close()


def hold(count: int) -> None:
    """Leave ``count`` greenlets parked."""
    here = greenlet.getcurrent()

    def park() -> None:
        here.switch()

    for _ in range(count):
        parked = greenlet.greenlet(park)
        _parked.append(parked)
        parked.switch()


def _nothing() -> None:
    pass


_parked: list[greenlet.greenlet] = []

OPERATIONS = {
    "spawn": spawn_and_join,
    "switch": switch,
    "queue": queue_uncontended,
    "hand_off": queue_hand_off,
    "semaphore": semaphore_uncontended,
    "ping_pong": ping_pong,
}
