"""Helpers for tests of green code: let everybody run until nobody can, see that nothing switched, serve an app.

There is no fake clock here: what waits reads the system's clock by itself, at every level and without asking anybody,
and a clock that only some of it believed would prove nothing. Give what you test short timeouts.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import greenlet

from greenserve._originals import monotonic
from greenserve.core.hub import Hub, get_hub
from greenserve.core.report import describe_parked, describe_place
from greenserve.core.waiters import sleep
from greenserve.net.listeners import listen
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["assert_no_switch", "serve", "wait_until_parked"]


def wait_until_parked(timeout: float = 5.0) -> None:
    """Let all other green threads of this OS thread run until each waits for what has not come yet. May switch.

    Who sleeps is parked, and so is who waits for bytes that are still on their way. No other OS thread is waited for.

    Raises:
        TimeoutError: Some still run after ``timeout`` seconds, such as one that only ever calls ``sleep(0)``.
    """
    hub = get_hub()
    deadline = monotonic() + timeout
    sleep(0)
    while _is_somebody_about_to_run(hub):
        if monotonic() > deadline:
            raise TimeoutError(f"green threads still run after {timeout} s\n{describe_parked(hub.greenlet)}")
        sleep(0)


def _is_somebody_about_to_run(hub: Hub) -> bool:
    if hub.ready:
        return True
    due = hub.timers.next_deadline()
    if due is not None and due <= monotonic():
        return True
    # Only looks: to wake them is the hub's, since a poll of ours beside its own would wake two for one event.
    sources = hub.poller.sources
    return any(fd in sources and sources[fd].is_awaited(events) for fd, events in hub.poller.backend.poll(0))


@contextmanager
def assert_no_switch() -> Iterator[None]:
    """Fail with AssertionError if the block lets another greenlet run, and say where it did.

    For what has to be done in one go, such as changing a structure that green threads share.
    """
    guarded = greenlet.getcurrent()
    before = greenlet.gettrace()
    found: list[tuple[str, list[str]]] = []

    def watch(event: Any, args: Any) -> None:
        if before is not None:
            before(event, args)
        if args[0] is guarded and not found:
            frame = guarded.gr_frame
            found.append((describe_place(frame), traceback.format_stack(frame)))

    greenlet.settrace(watch)
    try:
        yield
    finally:
        greenlet.settrace(before)
    for place, stack in found:
        raise AssertionError(f"another greenlet ran: switched at {place}\n{''.join(stack)}")


@contextmanager
def serve(app: WSGIApp, **keywords: Any) -> Iterator[tuple[str, int]]:
    """Serve ``app`` on a free port of the loopback in green threads, and give its address, a pair of host and port.

    The client must be green too, or run in another OS thread, as by `greenserve.execute`: a client that blocks this OS
    thread keeps the server from answering. At the end of the block the server stops, and cuts off what is still open.

    Args:
        app: The WSGI application.
        keywords: Those of `greenserve.wsgi.Server`.
    """
    listener = listen(("127.0.0.1", 0))
    try:
        server = Server(listener, app, **keywords)
        host, port = listener.getsockname()
    except BaseException:
        listener.close()
        raise
    server.start()
    try:
        yield host, port
    finally:
        server.stop(0)
        server.join()
