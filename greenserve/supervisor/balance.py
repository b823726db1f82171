"""Listening sockets that several workers share, and an even share of the connections for each. Knows no server.

Facts this rests on (Linux epoll(7), accept(2)): a connection wakes every process that waits on the socket, and whoever
comes first may take all that are there. A keep-alive connection stays where it was accepted, for all its requests. So
the worker that happens to run first would serve nearly everything.

What this means for us: each worker shows in shared memory how many connections it has. One that is ahead of another
waits for a moment before it takes the next, which that other is then already taking; and no longer, since it may be
busy with something else. This costs only whoever is ahead, and only while connections come.

Clients that will come back to one worker count there for a while, whether they are connected or not: else those that
come one by one, while nobody is busy, would nearly all belong to the worker that wakes first.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from operator import add
from typing import Any

from greenserve.core.waiters import sleep
from greenserve.net.sockets import GreenSocket

__all__ = ["SharedListener", "Shares"]

# How many workers can have a share; any more take what comes.
_PLACES = 1024

# What stands for a worker that does not accept.
_ABSENT = 0xFFFFFFFF

# A worker is ahead with so many connections more than another one has, and this part of those.
_TOLERANCE = 2
_TOLERANCE_PART = 8

# Who is ahead waits so long, in seconds, as often. If the connection is still there then, the other one is not as free
# as it looked, and so many are taken without waiting: few, since it may only have been off its core for a moment, and
# twice as many each time that it still takes none.
_PAUSE = 0.001
_PAUSES = 5
_FEW = 8
_MANY = 4096


class Shares:
    """How many connections each worker has. Made by the master, written by each worker in its place.

    Two workers are at one place while the new one begins and the old one leaves: it shows the figure of the new one.
    The clients are those of the place, and stay.
    """

    __slots__ = ("_clients", "_counts", "_holders", "_page", "_used")

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 4 * (1 + 3 * _PLACES))
        numbers = memoryview(self._page).cast("I")
        self._counts = numbers[:_PLACES]
        self._holders = numbers[_PLACES : 2 * _PLACES]  # the process that shows itself at the place, or 0
        self._clients = numbers[2 * _PLACES : 3 * _PLACES]  # that came of late, and will come back
        self._used = numbers[3 * _PLACES :]  # how many places may be in use, in shared memory too
        for place in range(_PLACES):
            self._counts[place] = _ABSENT

    def enter(self, number: int) -> None:
        """From now on this process is the worker of this number."""
        if number < _PLACES:
            self._holders[number] = os.getpid()
            self.show(number, 0)
            if number >= self._used[0]:
                self._used[0] = number + 1

    def leave(self, number: int) -> None:
        """This process accepts no more. If another one is the worker of this number by now, that changes nothing."""
        if number < _PLACES and self._holders[number] == os.getpid():
            self.withdraw(number)

    def show(self, number: int, connections: int) -> None:
        """Say how many connections the worker of this number has, if this process is that."""
        if number < _PLACES and self._holders[number] == os.getpid():
            self._counts[number] = connections

    def withdraw(self, number: int) -> None:
        """There is no worker of this number any more."""
        if number < _PLACES:
            self._holders[number] = 0
            self._counts[number] = _ABSENT

    def is_present(self, number: int) -> bool:
        """Whether there is a worker of this number that serves."""
        return number < _PLACES and self._counts[number] != _ABSENT

    def welcome(self, number: int) -> None:
        """A client has come to the worker of this number that will come back to it."""
        if number < _PLACES:
            self._clients[number] += 1

    def age(self, number: int) -> None:
        """Let the clients of this place count for a little less: twice a second, so that they do for half a minute."""
        if number < _PLACES:
            clients = self._clients[number]
            self._clients[number] = clients - (clients + 63) // 64

    def is_ahead(self, number: int, connections: int) -> bool:
        """Whether the worker of this number, with so many connections, has clearly more than another one."""
        used = self._used[0]
        least = min(map(add, self._counts[:used], self._clients[:used]), default=_ABSENT)
        if number < _PLACES:
            connections += self._clients[number]
        return connections > least + _TOLERANCE + least // _TOLERANCE_PART


class SharedListener(GreenSocket):
    """A listening socket that other workers accept on, too.

    Attributes:
        count: Returns how many connections this worker has.
    """

    __slots__ = ("_at_once", "_credit", "_number", "_shares", "count")

    def __init__(self, fileno: int, shares: Shares, number: int) -> None:
        super().__init__(fileno=fileno)
        self.count: Callable[[], int] = int
        self._shares = shares
        self._number = number
        self._at_once = _FEW  # how many it may take without waiting, when the others take none
        self._credit = 0  # of those

    @classmethod
    def take(cls, listener: GreenSocket, shares: Shares, number: int) -> SharedListener:
        """Return one in place of ``listener``, which is closed.

        Not by way of `detach`: that makes the open file blocking for a moment, and another worker that calls accept in
        that moment, for a connection that a third one takes, would hang in the system.
        """
        with listener:
            return cls(os.dup(listener.fileno()), shares, number)

    def accept(self) -> tuple[GreenSocket, Any]:
        """As `GreenSocket.accept`, once the others have had their turn. May switch."""
        if self.gettimeout() != 0.0:
            connections = self.count()
            self._shares.show(self._number, connections)
            if not self._shares.is_ahead(self._number, connections):
                self._forgive()
            elif self._credit:
                self._credit -= 1
            else:
                self._let_others()
        return super().accept()

    def _forgive(self) -> None:
        self._at_once = _FEW
        self._credit = 0

    def _let_others(self) -> None:
        """Wait until others have taken what is there, or take none for a while. May switch."""
        pauses = 0
        while self.gettimeout() != 0.0:  # a stop makes it non-blocking, and nobody interrupts a sleep
            self.wait_readable()
            if pauses == _PAUSES:
                self._credit = self._at_once
                self._at_once = min(2 * self._at_once, _MANY)
                return
            sleep(_PAUSE)
            pauses += 1
            if not self.wait_readable(0):
                pauses = 0  # somebody has taken it
                self._forgive()
            connections = self.count()
            self._shares.show(self._number, connections)
            if not self._shares.is_ahead(self._number, connections):
                self._forgive()
                return
