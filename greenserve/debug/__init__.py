"""What goes on in a process that serves: who blocks it, who waits for what, and a console inside of it.

- `Watchdog` logs the stack of a green thread that keeps its hub from running.
- `dump` writes what every green thread does, with its stack; `dump_on` does so on a signal, `tree` gives it as values.
- `backdoor_server` gives a Python console to whoever connects.
- `hub_prevent_multiple_readers` finds connections that are shared by mistake.

Nothing here costs anything before it is called.
"""

from __future__ import annotations

from greenserve.debug.backdoors import backdoor, backdoor_server
from greenserve.debug.listeners import format_hub_listeners, format_hub_timers, hub_prevent_multiple_readers
from greenserve.debug.trees import Branch, OSThread, State, dump, dump_on, tree
from greenserve.debug.watchdog import Watchdog, hub_blocking_detection

__all__ = [
    "Branch",
    "OSThread",
    "State",
    "Watchdog",
    "backdoor",
    "backdoor_server",
    "dump",
    "dump_on",
    "format_hub_listeners",
    "format_hub_timers",
    "hub_blocking_detection",
    "hub_prevent_multiple_readers",
    "tree",
]
