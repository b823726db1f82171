"""Parking, for a green thread that has set what its OS thread has only one of. Knows no such thing itself.

Where nobody sets anything of the kind a switch is the hub's own, and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable

from greenserve._typing import Any
from greenserve.core.hub import Hub

__all__ = ["OwnSwitch"]


class OwnSwitch:
    """Takes the place of `Hub.switch` while a green thread runs that has set something: others must not see it.

    It takes it away when that green thread parks, and puts it back when it goes on. Once there is nothing left to take
    away it gives the place up.

    Attributes:
        plain: The hub's own.
    """

    __slots__ = ("hub", "plain")

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        current = hub.switch
        self.plain: Callable[[], Any] = current.plain if isinstance(current, OwnSwitch) else current

    def take_away(self) -> Any:
        """Take away what the green thread has set, and return it. None when that is nothing. Must not switch."""
        raise NotImplementedError

    def put_back(self, taken: Any) -> None:
        """Set again what `take_away` returned. Must not switch."""
        raise NotImplementedError

    def __call__(self) -> Any:
        hub = self.hub
        hub.switch = self.plain
        taken = self.take_away()
        if taken is None:
            return hub.switch()
        try:
            return hub.switch()
        finally:
            self.put_back(taken)
            if not hub.closed:  # what is there then refuses to park
                hub.switch = self
