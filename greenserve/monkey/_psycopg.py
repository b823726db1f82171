"""psycopg 2 and 3, which wait for PostgreSQL in C, out of the patch's reach: both have a hook for it. Imports neither.

Facts this rests on:

- psycopg 3 looks up ``psycopg.waiting.wait`` for each query. Where its C part is installed that is a function in C,
  which stops the OS thread. ``wait_selector`` beside it does the same on a ``DefaultSelector``, and so does
  ``wait_conn``, for connecting.
- psycopg 2 calls what ``psycopg2.extensions.set_wait_callback`` was given whenever it would wait (its manual, "Support
  for coroutine libraries"). It closes the connection when that raises.

What this means for us: one module of each is written to, at once if it is loaded, else right after its code has run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from greenserve._originals import select
from greenserve.green.select import poll
from greenserve.green.selectors import PollSelector
from greenserve.monkey._finder import AdaptingFinder

__all__ = ["install"]


def install() -> None:
    """Let the queries of both wait in the hub, whether they are loaded already or ever."""
    sys.meta_path.insert(0, AdaptingFinder(_ADAPT))
    for name, adapt in _ADAPT.items():
        module = sys.modules.get(name)
        if module is not None:
            adapt(module)


def _adapt_3(waiting: Any) -> None:
    # Not an epoll object, which would never tell that its connection was closed meanwhile.
    waiting.DefaultSelector = PollSelector
    waiting.wait = waiting.wait_selector


def _adapt_2(extensions: Any) -> None:
    extensions.set_wait_callback(
        partial(
            _wait_2, {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}, extensions.POLL_OK
        )
    )


def _wait_2(masks: dict[int, int], done: int, connection: Any) -> None:
    """Wait until libpq has done what it was asked to. May switch.

    Args:
        masks: For what libpq may want, what is asked of the fd.
        done: What it says at the end.
        connection: Of psycopg 2.
    """
    while (wanted := connection.poll()) != done:
        if wanted not in masks:
            raise connection.OperationalError(f"libpq wants {wanted!r}, which is no known way to wait")
        waiting = poll()
        waiting.register(connection.fileno(), masks[wanted])  # a new one each time: while it connects the fd may change
        waiting.poll()


_ADAPT: dict[str, Callable[[Any], None]] = {"psycopg.waiting": _adapt_3, "psycopg2.extensions": _adapt_2}
