"""``eventlet.event``: something that happens once, with assertions where ours raises `greenserve.errors.EventError`."""

from __future__ import annotations

from typing import Any

from greenserve.errors import EventError
from greenserve.sync import events

__all__ = ["NOT_USED", "Event"]


class _NotUsed:
    def __repr__(self) -> str:
        return "NOT_USED"


# What an event has for a result before it was sent.
NOT_USED = _NotUsed()


class Event(events.Event[Any]):
    """As `greenserve.Event`."""

    def send(self, result: Any = None, exc: Any = None) -> None:
        """Give ``result`` to all who wait and will wait, or raise ``exc`` in them.

        Raises:
            AssertionError: It was sent before.
        """
        try:
            super().send(result, exc)
        except EventError:
            raise AssertionError("Trying to re-send() an already-triggered event.") from None

    def send_exception(self, *args: Any) -> None:
        """Raise in all who wait and will wait. The arguments are those of ``greenlet.throw``."""
        self.send(None, args)

    def reset(self) -> None:
        """Make it new.

        Raises:
            AssertionError: It has not been sent.
        """
        try:
            super().reset()
        except EventError:
            raise AssertionError("Trying to re-reset() a fresh event.") from None

    @property
    def _result(self) -> Any:
        if not self.ready():
            return NOT_USED
        return None if self.has_exception() else self._round.outcomes[0].result

    def __str__(self) -> str:
        error = self._round.outcomes[0].error if self.has_exception() else None
        waiting = len(self._round.queue)
        return f"<{type(self).__name__} at {id(self):#x} result={self._result!r} _exc={error!r} _waiters[{waiting}]>"
