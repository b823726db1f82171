"""``eventlet.asyncio``: coroutines as green threads, and green threads that coroutines await. With any hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from greenlet import GreenletExit

from greenserve import aio
from greenserve.compat.eventlet._face import greenthread

__all__ = ["spawn_for_awaitable"]


def spawn_for_awaitable(coroutine: Awaitable[Any]) -> greenthread.GreenThread:
    """Return a green thread that waits for ``coroutine``, or any other awaitable. Killing it cancels that."""
    return greenthread.spawn(aio.await_, coroutine)


def _awaiting(thread: greenthread.GreenThread) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(_result_of(thread))

    def end(ended: asyncio.Task[Any]) -> None:
        if ended.cancelled() and not thread.dead:
            thread.kill()

    task.add_done_callback(end)
    return task


async def _result_of(thread: greenthread.GreenThread) -> Any:
    try:
        return await aio.to_green(thread.wait)
    except GreenletExit:  # killed: to a coroutine that is its cancellation
        raise asyncio.CancelledError from None


greenthread._NotAwaitable.make = _awaiting
