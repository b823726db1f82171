"""asyncio's loops in green threads: which one is the running loop is each green thread's own. Imports no asyncio.

Facts this rests on (CPython's ``_asyncio`` and ``sys``, Python 3.10 to 3.13):

- The running loop belongs to the OS thread, in C, and so do the hooks for asynchronous generators and the depth to
  which origins of coroutines are noted, which a loop sets for as long as it runs.
- Which task is current is kept for each loop.
- A loop asks its selector, if only for a moment, before it calls anything.

What this means for us: a green thread in which a loop runs takes these facts away when it parks, and puts them back
when it goes on; others see nothing of it meanwhile, and may run loops of their own. That is done in one place, in what
the hub is parked by, put there by the first question to a green selector and gone when the loop is. Where no loop runs
a switch is what it always was.
"""

from __future__ import annotations

import sys
from typing import Any

from greenserve.core.hub import Hub
from greenserve.core.switches import OwnSwitch
from greenserve.green._thread import local

__all__ = ["LoopSwitch", "PolicyLocal", "enter_loop", "notice_loop", "waits_in_hub"]


class PolicyLocal(local):
    """What asyncio's policy keeps of each thread: the loop that was set there, which need not run."""

    _loop: Any = None
    _set_called = False


class LoopSwitch(OwnSwitch):
    """Keeps the loop that runs in a green thread to that green thread."""

    __slots__ = ("_events", "_outer", "loop")

    def __init__(self, hub: Hub, events: Any, loop: Any, outer: Any = None) -> None:
        super().__init__(hub)
        self.loop = loop
        self._events = events
        # What runs while it is parked, if any: a loop that does not wait in the hub, but its coroutine in green code.
        self._outer = outer

    def take_away(self) -> Any:
        """Return the running loop, the hooks and the depth."""
        loop = self._events._get_running_loop()
        if loop is None:
            return None
        hooks = sys.get_asyncgen_hooks()
        depth = sys.get_coroutine_origin_tracking_depth()
        sys.set_asyncgen_hooks(None, None)
        if depth:
            sys.set_coroutine_origin_tracking_depth(0)
        self._events._set_running_loop(self._outer)
        return loop, hooks, depth

    def put_back(self, taken: Any) -> None:
        """Let the loop run again; for the last time, if its OS thread is about to end."""
        loop, hooks, depth = taken
        self._outer = self._events._get_running_loop()
        self._events._set_running_loop(loop)
        if depth:
            sys.set_coroutine_origin_tracking_depth(depth)
        sys.set_asyncgen_hooks(*hooks)
        if self.hub.closed:
            loop.stop()


def notice_loop(hub: Hub) -> None:
    """Prepare ``hub`` for a loop that runs in the caller's green thread, if one does."""
    events: Any = sys.modules.get("asyncio.events")
    if events is None:
        return
    # While another module imports it, it is there without its functions.
    get_running_loop = getattr(events, "_get_running_loop", None)
    loop = None if get_running_loop is None else get_running_loop()
    if loop is not None and not waits_in_hub(hub, loop):
        hub.switch = LoopSwitch(hub, events, loop)


def enter_loop(hub: Hub, loop: Any) -> None:
    """Prepare ``hub`` for ``loop``, which is about to run in the caller's green thread, and in nobody else's loop."""
    events = sys.modules["asyncio.events"]
    outer = events._get_running_loop()
    events._set_running_loop(None)
    hub.switch = LoopSwitch(hub, events, loop, outer)


def waits_in_hub(hub: Hub, loop: Any) -> bool:
    """Whether ``loop``, which runs in the caller's green thread, waits in ``hub``, so that others go on."""
    return isinstance(hub.switch, LoopSwitch) and hub.switch.loop is loop
