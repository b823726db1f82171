"""Attributes of a green thread's own, as ``threading.local`` has them for OS threads. Knows no hub."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from greenlet import getcurrent, greenlet

__all__ = ["local"]


class local:  # noqa: N801 - the name of threading.local, for which it stands
    """An object whose attributes each greenlet sees apart.

    A subclass's ``__init__`` runs again, with the same arguments, in each greenlet that touches the object first.
    What a greenlet kept goes when the greenlet goes, or when the object does.
    """

    __slots__ = ("__dict__", "_local_args", "_local_dicts")

    _local_args: tuple[tuple[Any, ...], dict[str, Any]]
    _local_dicts: WeakKeyDictionary[greenlet, dict[str, Any]]

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments: a subclass with __init__ would")
        self = object.__new__(cls)
        object.__setattr__(self, "_local_args", (args, kwargs))
        dicts: WeakKeyDictionary[greenlet, dict[str, Any]] = WeakKeyDictionary()
        object.__setattr__(self, "_local_dicts", dicts)
        # __init__ is about to run for the greenlet that makes the object.
        dicts[getcurrent()] = {}
        return self

    def __getattribute__(self, name: str) -> Any:
        _enter(self)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _check_writable(self, name)
        _enter(self)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _check_writable(self, name)
        _enter(self)
        object.__delattr__(self, name)


def _enter(obj: local) -> None:
    """Make the current greenlet's attributes those of ``obj``."""
    dicts = object.__getattribute__(obj, "_local_dicts")
    current = getcurrent()
    mine = dicts.get(current)
    if mine is not None:
        object.__setattr__(obj, "__dict__", mine)
        return
    dicts[current] = mine = {}
    object.__setattr__(obj, "__dict__", mine)
    args, kwargs = object.__getattribute__(obj, "_local_args")
    if type(obj).__init__ is not object.__init__:
        type(obj).__init__(obj, *args, **kwargs)


def _check_writable(obj: local, name: str) -> None:
    if name == "__dict__":
        raise AttributeError(f"{type(obj).__name__!r} object attribute '__dict__' is read-only")
