"""Green threads that wait for one another's results, by keys: a directed acyclic graph of work. Knows events; no hub.

A key has a value once its function has returned, or `DAGPool.post` has given it one; a function gets the values of the
keys that it depends on as they come. What a function raises is given to all who depend on it, as `PropagateError`.

For one OS thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

from greenlet import getcurrent

from greenserve._typing import Any
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.core.waiters import WaitQueue
from greenserve.errors import GreenserveError

__all__ = ["Collision", "DAGPool", "PropagateError"]

Key = Hashable
_MISSING: Any = object()


class Collision(GreenserveError):
    """A key was used twice: spawned or posted a second time."""


class PropagateError(GreenserveError):
    """The function of a key has failed.

    Attributes:
        key: The key.
        exc: What its function has raised; itself a `PropagateError` where that was of a key that it depends on.
    """

    def __init__(self, key: Key, exc: BaseException) -> None:
        super().__init__(f"PropagateError({key}): {type(exc).__name__}: {exc}")
        self.key = key
        self.exc = exc

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, self.exc)


class _Task:
    """A green thread that was spawned for a key, and the keys whose values it has not got yet."""

    __slots__ = ("pending", "thread")

    def __init__(self, pending: set[Key]) -> None:
        self.pending = pending
        self.thread: GreenThread[Any] | None = None


class DAGPool:
    """Work whose parts depend on one another.

    Args:
        preload: Values that are there from the start, by their keys.
    """

    def __init__(self, preload: Mapping[Key, Any] | Iterable[tuple[Key, Any]] = ()) -> None:
        self._values: dict[Key, Any] = dict(preload)
        self._tasks: dict[Key, _Task] = {}
        self._changed = WaitQueue()

    # Values ---------------------------------------------------------------------------------------------------------

    def wait(self, keys: Any = _MISSING) -> dict[Key, Any]:
        """Return the values of ``keys``, or of all that are there or spawned. May switch.

        Raises:
            PropagateError: The function of one of them has failed.
        """
        return dict(self.wait_each(keys))

    def waitall(self) -> dict[Key, Any]:
        """`wait` for all keys. May switch."""
        return self.wait()

    def wait_each(self, keys: Any = _MISSING) -> Iterator[tuple[Key, Any]]:
        """Yield pairs of key and value as they come. May switch.

        Raises:
            PropagateError: As `wait`, when it is that key's turn.
        """
        for key, value in self._wait_each(self._keys_of(keys)):
            yield key, _value_or_raise(value)

    def wait_each_success(self, keys: Any = _MISSING) -> Iterator[tuple[Key, Any]]:
        """As `wait_each`, without those whose functions have failed. May switch."""
        for key, value in self._wait_each(self._keys_of(keys)):
            if not isinstance(value, PropagateError):
                yield key, value

    def wait_each_exception(self, keys: Any = _MISSING) -> Iterator[tuple[Key, PropagateError]]:
        """Yield pairs of key and `PropagateError` for those whose functions have failed. May switch."""
        for key, value in self._wait_each(self._keys_of(keys)):
            if isinstance(value, PropagateError):
                yield key, value

    def _keys_of(self, keys: Any) -> set[Key]:
        if keys is _MISSING:
            return {*self._values, *self._tasks}
        return set(keys)

    def _wait_each(self, pending: set[Key]) -> Iterator[tuple[Key, Any]]:
        while pending:
            ready = [key for key in pending if key in self._values]
            if not ready:
                self._changed.wait()
                continue
            for key in ready:
                pending.discard(key)
                yield key, self._values[key]

    def get(self, key: Key, default: Any = None) -> Any:
        """The value of ``key`` if it is there, else ``default``. Never switches.

        Raises:
            PropagateError: Its function has failed.
        """
        return _value_or_raise(self._values.get(key, default))

    def __getitem__(self, key: Key) -> Any:
        """Wait for the value of ``key``. May switch."""
        return self.wait([key])[key]

    def keys(self) -> tuple[Key, ...]:
        """The keys whose values are there."""
        return tuple(self._values)

    def items(self) -> tuple[tuple[Key, Any], ...]:
        """Pairs of those and their values.

        Raises:
            PropagateError: The function of one of them has failed.
        """
        return tuple((key, _value_or_raise(value)) for key, value in self._values.items())

    def post(self, key: Key, value: Any, replace: bool = False) -> None:
        """Give ``key`` a value from outside. Those who depend on it go on.

        Args:
            replace: In place of the one that it has. Whoever has that already keeps it.

        Raises:
            Collision: It has a value, and ``replace`` is false; or a function that runs will give it one.
        """
        task = self._tasks.get(key)
        if task is not None and task.thread is not getcurrent():
            raise Collision(key)
        if key in self._values and not replace:
            raise Collision(key)
        self._values[key] = value
        self._changed.wake_all()

    # Work -----------------------------------------------------------------------------------------------------------

    def spawn(self, key: Key, depends: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(key, results, *args, **kwargs)`` in a green thread: what it returns is the value of ``key``.

        Args:
            depends: The keys whose values it needs. ``results`` iterates over pairs of these and their
                values, as they come; they need not be known yet.

        Raises:
            Collision: The key is there or spawned already.
        """
        if key in self._tasks or key in self._values:
            raise Collision(key)
        task = self._tasks[key] = _Task(self._keys_of(depends))
        task.thread = spawn(self._run, key, task, function, args, kwargs)
        task.thread.link(self._ended, key, task)

    def spawn_many(self, depends: Mapping[Key, Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """`spawn` the same function for each key of ``depends``, a mapping of keys to what they depend on.

        Raises:
            Collision: As `spawn`; the keys before it are spawned.
        """
        for key, its_depends in depends.items():
            self.spawn(key, its_depends, function, *args, **kwargs)

    def _run(
        self, key: Key, task: _Task, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        results = ((each, _value_or_raise(value)) for each, value in self._wait_each(task.pending))
        try:
            value = function(key, results, *args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - given to all who depend on it
            value = PropagateError(key, exc)
        self._finish(key, task, value)

    def _ended(self, thread: GreenThread[Any], key: Key, task: _Task) -> None:
        if self._tasks.get(key) is task:  # killed, before or while it ran
            del self._tasks[key]

    def _finish(self, key: Key, task: _Task, value: Any) -> None:
        if self._tasks.get(key) is not task:
            return  # killed meanwhile
        del self._tasks[key]
        # A value that it has posted for itself stays, unless it has returned another.
        if not (key in self._values and value is None):
            self._values[key] = value
        self._changed.wake_all()

    def kill(self, key: Key) -> None:
        """End the green thread of ``key``, and forget it: it may be spawned or posted again. May switch.

        Those who depend on it go on waiting for its value.

        Raises:
            KeyError: None runs for it.
        """
        task = self._tasks[key]
        if task.thread is not None:
            task.thread.kill()

    def running(self) -> int:
        """How many functions have not returned."""
        return len(self._tasks)

    def running_keys(self) -> tuple[Key, ...]:
        """Their keys."""
        return tuple(self._tasks)

    def waiting(self) -> int:
        """How many of those wait for a value that is not there."""
        return sum(bool(self._missing(task)) for task in self._tasks.values())

    def waiting_for(self, key: Any = _MISSING) -> Any:
        """The keys that ``key`` still waits for, as a set; without a key, a dict of these for all that wait.

        Raises:
            KeyError: Nothing is known of ``key``.
        """
        if key is _MISSING:
            return {each: missing for each, task in self._tasks.items() if (missing := self._missing(task))}
        if key in self._tasks:
            return self._missing(self._tasks[key])
        if key in self._values:
            return set()
        raise KeyError(key)

    def _missing(self, task: _Task) -> set[Key]:
        return {each for each in task.pending if each not in self._values}


def _value_or_raise(value: Any) -> Any:
    if isinstance(value, PropagateError):
        raise value
    return value
