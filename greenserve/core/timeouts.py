"""A deadline for whatever the current green thread does, raised where it waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import TracebackType

from greenlet import getcurrent

from greenserve._originals import monotonic
from greenserve._typing import Any
from greenserve.core.hub import Hub, get_hub
from greenserve.core.timers import Handle
from greenserve.errors import HubError

__all__ = ["Timeout", "is_timeout", "with_timeout"]

_MISSING = object()


class Timeout(BaseException):
    """Raised in the green thread that made it, ``seconds`` after it was started.

    Not an ``Exception``, so that ``except Exception`` in the code under it does not swallow it.

    Args:
        seconds: From now on; None never fires, which saves the caller an ``if``.
        exception: What to raise instead of the `Timeout` itself: an instance or a class. False raises the `Timeout` and
            lets the ``with`` block end silently.

    It starts when it is made; ``with Timeout(5):`` cancels it at the end of the block.

    Raises:
        TypeError: ``exception`` is something else.
        ValueError: ``seconds`` is NaN.
        HubError: A callback of the hub made it, or a signal handler inside the poll: there is nobody to raise it in.
    """

    def __init__(
        self,
        seconds: float | None = None,
        exception: BaseException | type[BaseException] | bool | None = None,
    ) -> None:
        if not (exception is None or isinstance(exception, (bool, BaseException)) or _is_exception_class(exception)):
            raise TypeError(f"Timeout(exception={exception!r}): give an exception, or False for a silent end")
        super().__init__(seconds)
        self.seconds = seconds
        self.exception = exception
        self._hub: Hub | None = None
        self._timer: Handle | None = None
        self.start()

    def start(self) -> None:
        """Start counting. Done on creation.

        Raises:
            RuntimeError: It is counting already.
        """
        if self.pending:
            raise RuntimeError(f"{self!r} has already started: cancel it first, or make another one")
        if self.seconds is None:
            return
        exception = self if self.exception is None or isinstance(self.exception, bool) else self.exception
        hub = get_hub()
        current = getcurrent()
        if current is hub.greenlet:
            raise HubError("a Timeout needs a green thread that waits; neither the hub nor a signal handler in it does")
        timer = Handle(partial(_expire, current, exception))
        hub.timers.add(monotonic() + self.seconds, timer)
        self._hub, self._timer = hub, timer

    def cancel(self) -> None:
        """Stop counting. Idempotent, and without effect once it was raised."""
        timer, self._timer = self._timer, None
        if timer is not None and self._hub is not None:
            self._hub.timers.cancel(timer)

    @property
    def pending(self) -> bool:
        """Whether it counts and has not been raised."""
        return self._timer is not None and self._timer.fire is not None

    @property
    def is_timeout(self) -> bool:
        """True: lets callers tell a timeout of any library by this attribute."""
        return True

    def __enter__(self) -> Timeout:
        if not self.pending:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.cancel()
        return value is self and self.exception is False

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        unit = "second" if self.seconds == 1 else "seconds"
        if self.exception is None or isinstance(self.exception, bool):
            return f"{self.seconds} {unit}"
        return f"{self.seconds} {unit} ({self.exception!r})"

    def __repr__(self) -> str:
        state = "pending" if self.pending else "not pending"
        return f"<{type(self).__name__} {state}: {self}>"


def _is_exception_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _expire(thread: Any, exception: Any) -> None:
    if not thread.dead:
        thread.throw(exception)


def with_timeout(seconds: float, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Return ``function(*args, **kwargs)``, or ``timeout_value`` if that takes longer than ``seconds``. May switch.

    Raises:
        Timeout: It took longer, and no ``timeout_value=`` was given.
    """
    value = kwargs.pop("timeout_value", _MISSING)
    with Timeout(seconds, None if value is _MISSING else False):
        return function(*args, **kwargs)
    return value  # the block was left in silence


def is_timeout(obj: object) -> bool:
    """Whether ``obj`` is an exception that means "took too long": a `Timeout`, ``TimeoutError``, or says so itself."""
    return isinstance(obj, TimeoutError) or bool(getattr(obj, "is_timeout", False))
