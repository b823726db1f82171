"""``eventlet.pools``: things that are dear to make, with what others read of a pool."""

from __future__ import annotations

from collections import deque
from typing import Any

from greenserve.sync import resources

__all__ = ["Pool", "TokenPool"]


class Counted(resources.Pool[Any]):
    """What others read of a pool."""

    @property
    def free_items(self) -> deque[Any]:
        """Those that were made and are not in use."""
        return self._idle

    @property
    def current_size(self) -> int:
        """How many were made and not dropped."""
        return self._max_size - self.free() + len(self._idle)


class Pool(Counted):
    """As `greenserve.sync.Pool`."""

    def resize(self, new_size: int) -> None:
        """Change how many items there are at most."""
        super().resize(new_size)


class Token:
    """Stands for the right to do something."""


class TokenPool(Pool):
    """A pool of tokens."""

    def create(self) -> Token:
        """Make a token."""
        return Token()
