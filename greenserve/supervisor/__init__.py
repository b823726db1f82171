"""Processes: a master that forks workers, keeps them running, and does what signals ask for.

The way through it: `master` decides, `workers` is what it knows of each, `child` is the worker's side, and `pulse` the
memory between the two. Around them `listeners`, `upgrade`, `notify`, `identity`, `memory`, `changes` and `hooks` each
know one thing about the system. `site` is what they are all given, and `alone` serves without a master.
"""

from __future__ import annotations

from greenserve.supervisor.alone import serve_alone
from greenserve.supervisor.hooks import HOOKS, Hooks
from greenserve.supervisor.master import BootError, Master
from greenserve.supervisor.site import Site, needs_master

__all__ = ["HOOKS", "BootError", "Hooks", "Master", "Site", "needs_master", "serve_alone"]
