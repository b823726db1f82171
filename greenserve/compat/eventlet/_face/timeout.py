"""``eventlet.timeout``: deadlines, with eventlet's assertions and texts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

from greenlet import getcurrent

from greenserve.core import timeouts
from greenserve.core.hub import get_hub
from greenserve.core.timers import Handle

__all__ = ["Timeout", "is_timeout", "with_timeout", "wrap_is_timeout"]

_MISSING = object()

is_timeout = timeouts.is_timeout


class Timeout(timeouts.Timeout):
    """As `greenserve.Timeout`, whose subclass it is, told by eventlet's words."""

    def start(self) -> Timeout:  # type: ignore[override]  # eventlet's returns itself
        """Start counting. Done on creation.

        Raises:
            AssertionError: It is counting already.
        """
        assert not self.pending, f"{self!r} is already started; to restart it, cancel it first"
        if self.seconds is None or self.seconds > 0:
            super().start()
            return self
        # Due at once: before whatever is scheduled from now on.
        exception = self if self.exception is None or isinstance(self.exception, bool) else self.exception
        self._hub = get_hub()
        self._timer = Handle(partial(timeouts._expire, getcurrent(), exception))
        self._hub.schedule(self._timer)
        return self

    @property
    def timer(self) -> Any:
        """What will raise it, while it counts; else None."""
        return self._timer

    def __repr__(self) -> str:
        exception = "" if self.exception is None else f" exception={self.exception!r}"
        pending = " pending" if self.pending else ""
        return f"<{type(self).__name__} at {id(self):#x} seconds={self.seconds}{exception}{pending}>"

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        text = f"{self.seconds} second{'' if self.seconds == 1 else 's'}"
        if self.exception is None or self.exception is True:
            return text
        return f"{text} (silent)" if self.exception is False else f"{text} ({self.exception})"


def with_timeout(seconds: float | None, function: Callable[..., Any], *args: Any, **kwds: Any) -> Any:
    """Return ``function(*args, **kwds)``, or ``timeout_value=`` if that takes longer than ``seconds``. May switch.

    Raises:
        Timeout: It took longer, and there is no ``timeout_value``.
    """
    value = kwds.pop("timeout_value", _MISSING)
    with Timeout(seconds, None if value is _MISSING else False):
        return function(*args, **kwds)
    return value  # the block was left in silence


def wrap_is_timeout(base: Any) -> Any:
    """Give the class ``base``, or what the function ``base`` returns, the attribute ``is_timeout``."""
    if isinstance(base, type):
        base.is_timeout = property(lambda _: True)  # type: ignore[attr-defined]  # that is what is asked for
        return base

    @functools.wraps(base)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        made = base(*args, **kwargs)
        made.is_timeout = True
        return made

    return wrapped
