"""Who waits in a hub, fd by fd and timer by timer; and a check that no two wait for the same. eventlet's names."""

from __future__ import annotations

from typing import Any

from greenlet import greenlet

from greenserve._originals import monotonic
from greenserve.core.hub import Hub, all_hubs, get_hub
from greenserve.core.poller import Source
from greenserve.core.report import describe_place
from greenserve.core.timers import Handle
from greenserve.debug.stacks import StackReader, format_stack
from greenserve.errors import HubError

__all__ = ["format_hub_listeners", "format_hub_timers", "hub_prevent_multiple_readers"]


class _OnlyOne(list[Handle]):
    """The queue of those who wait for an fd in one direction, with room for one."""

    __slots__ = ()

    def append(self, handle: Handle, /) -> None:
        if self:
            first = getattr(self[0].fire, "__self__", None)
            frame = first.gr_frame if isinstance(first, greenlet) else None
            raise HubError(
                "two green threads wait for the same direction of one fd: which of them gets what can't be told. "
                "Let only one of them do so, or allow it by hub_prevent_multiple_readers(False). The first one:\n"
                + "\n".join(format_stack(StackReader().read(frame), "  "))
            )
        super().append(handle)


def hub_prevent_multiple_readers(state: bool = True) -> None:
    """Raise HubError, a RuntimeError, in whoever waits to read an fd, or to write it, when somebody else does already.

    For finding connections that are shared by mistake. Off by default: those who wait for the same are served in turn.
    """
    Source.queue_type = _OnlyOne if state else list
    here = get_hub()
    for hub in all_hubs():
        if hub is here:
            _renew_queues(hub)
        else:
            hub.call_soon(_renew_queues, hub)  # only between two of its green threads nobody holds on to a queue


def _renew_queues(hub: Hub) -> None:
    for source in list(hub.poller.sources.values()):
        if not source.readers:
            source.readers = source.queue_type()
        if not source.writers:
            source.writers = source.queue_type()


def format_hub_listeners() -> str:
    """Return a line for each green thread of this OS thread that waits for an fd: which, how, and where it is."""
    lines = []
    for source in get_hub().poller.sources.values():
        for what, queue in (("read", source.readers), ("write", source.writers)):
            lines += [f"{what} fd {source.fd}: {_describe(handle)}" for handle in queue]
    return "\n".join(lines)


def format_hub_timers() -> str:
    """Return a line for each timer of this OS thread, the next one first: in how many seconds, and what it is for."""
    now = monotonic()
    return "\n".join(
        f"in {deadline - now:.3f} s: {_describe(handle)}"
        for deadline, _, handle in sorted(get_hub().timers.heap)
        if handle.fire is not None
    )


def _describe(handle: Handle) -> str:
    """Where the green thread is that a handle resumes; or what else it does."""
    fire: Any = handle.fire
    thread = getattr(fire, "__self__", None)
    if isinstance(thread, greenlet) and thread.gr_frame is not None:
        return f"{thread!r} at {describe_place(thread.gr_frame)}"
    return repr(fire)
