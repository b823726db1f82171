"""Bounded memories for the answers of pure functions. Know nothing of HTTP.

A client sends the same lines again and again, so looking one up is several times cheaper than parsing it.
What is remembered is the finished answer of a function that makes every check; whatever raises
is never remembered, so no memory skips a check.

Several OS threads may share one memory. Every step is one dict operation, so the worst that a race does is to compute
twice, or to go over the bound by one entry for each thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TypeVar

__all__ = ["Memo", "Memory"]

K = TypeVar("K", bound=Sized)
V = TypeVar("V")


class Memory(dict[K, V]):
    """A dict with a bound on its entries and on the length of a key.

    A full memory forgets everything: a peer that fills it with ever new lines costs everybody one miss
    for each line, and the others need no bookkeeping.
    """

    __slots__ = ("max_entries", "max_length")

    def __init__(self, *, max_entries: int, max_length: int) -> None:
        super().__init__()
        self.max_entries = max_entries
        self.max_length = max_length

    def remember(self, key: K, value: V) -> None:
        """Keep ``value`` for ``key``, unless the key is too long."""
        if len(key) > self.max_length:
            return
        if len(self) >= self.max_entries:
            self.clear()
        self[key] = value


class Memo(Memory[K, V]):
    """``memo[key]`` is ``compute(key)``."""

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[[K], V], *, max_entries: int, max_length: int) -> None:
        super().__init__(max_entries=max_entries, max_length=max_length)
        self.compute = compute

    def __missing__(self, key: K) -> V:
        value = self.compute(key)
        self.remember(key, value)
        return value
