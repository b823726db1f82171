"""A result that is sent once and that any number of green or OS threads wait for. Knows the wait queue; no hub."""

from __future__ import annotations

from greenserve._typing import Any, Generic, TypeVar
from greenserve.core.waiters import WaitQueue
from greenserve.errors import EventError

__all__ = ["Event"]

T = TypeVar("T")


class _Outcome(Generic[T]):
    """What was sent: a result, or an exception with its traceback so far."""

    __slots__ = ("error", "result", "traceback")

    def __init__(self, result: T | None, error: BaseException | None) -> None:
        self.result = result
        self.error = error
        self.traceback = None if error is None else error.__traceback__


class _Round(Generic[T]):
    """From one `Event.reset` to the next. Whoever waits in it gets its outcome, also when it wakes after a reset."""

    __slots__ = ("outcomes", "queue")

    def __init__(self) -> None:
        # The first one counts. Appending, then looking who was first, is how two senders can't both win.
        self.outcomes: list[_Outcome[T]] = []
        self.queue = WaitQueue()


class Event(Generic[T]):
    """Something that happens once, with a result or an exception. Any OS thread may send it and wait for it."""

    __slots__ = ("__weakref__", "_round")

    def __init__(self) -> None:
        self._round: _Round[T] = _Round()

    def send(self, result: T | None = None, exc: Any = None) -> None:
        """Give ``result`` to all who wait and will wait, or raise ``exc`` in them. Never blocks.

        Args:
            result: What `wait` returns.
            exc: What `wait` raises: an exception, a class, or the arguments of ``greenlet.throw`` as a tuple.

        Raises:
            EventError: It was sent before.
        """
        outcome = _Outcome(result, None if exc is None else _as_exception(exc if isinstance(exc, tuple) else (exc,)))
        current = self._round
        if not current.outcomes:
            current.outcomes.append(outcome)  # atomic: list.append
        if current.outcomes[0] is not outcome:
            raise EventError("send() on an event that was sent already: reset() makes it new")
        current.queue.wake_all()

    def send_exception(self, *args: Any) -> None:
        """Raise in all who wait and will wait. The arguments are those of ``greenlet.throw``.

        Raises:
            EventError: It was sent before.
        """
        self.send(None, args)

    def wait(self, timeout: float | None = None) -> T | None:
        """Return what was sent, or raise it. None when ``timeout`` seconds went by first: `ready` tells. May switch."""
        current = self._round
        outcomes = current.outcomes
        if not outcomes:
            waiter = current.queue.enter()
            if outcomes:  # sent before it could see us in the queue
                current.queue.leave(waiter)
            elif not current.queue.finish(waiter, timeout):
                return None
        outcome = outcomes[0]
        if outcome.error is None:
            return outcome.result
        try:
            # Raised in many, one exception would collect the frames of all of them.
            raise outcome.error.with_traceback(outcome.traceback)
        finally:
            # The exception's traceback holds this frame: the frame must not hold the exception.
            del self, current, outcomes, outcome

    def reset(self) -> None:
        """Make it new, to be sent again. Those who wait for the last outcome still get it.

        Raises:
            EventError: It has not been sent.
        """
        if not self._round.outcomes:
            raise EventError("reset() of an event that has not been sent")
        self._round = _Round()

    def ready(self) -> bool:
        """Whether it was sent."""
        return bool(self._round.outcomes)

    def has_result(self) -> bool:
        """Whether a result was sent."""
        outcomes = self._round.outcomes
        return bool(outcomes) and outcomes[0].error is None

    def has_exception(self) -> bool:
        """Whether an exception was sent."""
        outcomes = self._round.outcomes
        return bool(outcomes) and outcomes[0].error is not None

    def poll(self, notready: Any = None) -> Any:
        """What `wait` would return or raise now, or ``notready``. Never blocks."""
        return self.wait() if self.ready() else notready

    def poll_result(self, notready: Any = None) -> Any:
        """The result if one was sent, or ``notready``. Never blocks."""
        return self.wait() if self.has_result() else notready

    def poll_exception(self, notready: Any = None) -> Any:
        """Raise the exception if one was sent, or return ``notready``. Never blocks."""
        return self.wait() if self.has_exception() else notready

    def __repr__(self) -> str:
        state = (
            "exception" if self.has_exception() else "result" if self.ready() else f"{len(self._round.queue)} waiting"
        )
        return f"<{type(self).__name__} at {id(self):#x}: {state}>"


def _as_exception(args: tuple[Any, ...]) -> BaseException:
    """The exception that ``greenlet.throw`` would make of a class or an instance, a value and a traceback."""
    kind, value, traceback = (*args, None, None, None)[:3]
    if isinstance(kind, type) and issubclass(kind, BaseException):
        error = value if isinstance(value, kind) else kind() if value is None else kind(value)
    elif isinstance(kind, BaseException):
        error = kind
    else:
        raise TypeError(f"an exception or its class is needed, not {kind!r}: event.send_exception(ValueError('why'))")
    return error if traceback is None else error.with_traceback(traceback)
