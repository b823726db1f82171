"""Runs a coroutine in a loop of its own: what ``asyncio.Runner`` does, which Python 3.10 does not have."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from greenserve import aio

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Return what ``main`` comes to, in an `aio.EventLoop` that is closed at the end."""
    loop = aio.EventLoop()
    loop.set_debug(debug)
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
