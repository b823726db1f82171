"""``eventlet.corolocal``: attributes of a green thread's own."""

from __future__ import annotations

from greenlet import getcurrent

from greenserve.core.locals import local

__all__ = ["get_ident", "local"]


def get_ident() -> int:
    """A number that no other green thread has that is alive."""
    return id(getcurrent())
