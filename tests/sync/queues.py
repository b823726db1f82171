"""What the tests of queues share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from greenserve import GreenThread, LifoQueue, LightQueue, PriorityQueue, Queue

ALL = [LightQueue, Queue, LifoQueue, PriorityQueue]
any_queue = pytest.mark.parametrize("kind", ALL)
AnyQueue = Any


def kill_after(action: Callable[[], Any], victim: GreenThread[Any]) -> None:
    """Kill ``victim`` when ``action`` has given it something already, but before it has run since."""
    action()
    victim.kill()  # at once, before what the action has scheduled
