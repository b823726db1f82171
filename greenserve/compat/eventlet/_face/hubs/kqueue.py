"""``eventlet.hubs.kqueue``: the hub, waiting by kqueue."""

from __future__ import annotations

from greenserve._originals import select as _select
from greenserve.compat.eventlet._face.hubs.hub import BaseHub

__all__ = ["Hub", "is_available"]


def is_available() -> bool:
    """Whether the system has it."""
    return hasattr(_select, "kqueue")


class Hub(BaseHub):
    """The hub of this OS thread."""

    selector = "kqueue"
