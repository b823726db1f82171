"""``eventlet.hubs.asyncio``: the same hub. `greenserve.aio` lets asyncio's loop wait in it."""

from __future__ import annotations

from greenserve.compat.eventlet._face.hubs.hub import BaseHub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """True: asyncio comes with Python."""
    return True


class Hub(BaseHub):
    """The hub of this OS thread, chosen by the name "asyncio"."""
