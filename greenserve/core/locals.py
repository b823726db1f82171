"""Attributes of a green thread's own, as ``threading.local`` has them for OS threads. Knows no hub.

What a greenlet keeps in a local is stored with the greenlet, so that it goes when the greenlet does, even if it refers
to the greenlet itself; and it goes when the local does.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from greenlet import getcurrent

from greenserve._typing import Any

__all__ = ["local"]

# Where a greenlet, in its own __dict__, keeps its attributes of every local.
_NAME = "_greenserve_locals"


class _Key:
    """Stands for one local, and ends with it. A subclass of local may define equality as it likes; this can't."""

    __slots__ = ("__weakref__",)


class local:  # noqa: N801 - the name of threading.local, for which it stands
    """An object whose attributes each greenlet sees apart.

    A subclass's ``__init__`` runs again, with the same arguments, in each greenlet that touches the object first.
    """

    # The object itself never keeps an attribute, not even for a moment: several OS threads may use it at once.
    __slots__ = ("__weakref__", "_local_args", "_local_key")

    _local_args: tuple[tuple[Any, ...], dict[str, Any]]
    _local_key: _Key

    def __new__(cls, /, *args: Any, **kwargs: Any) -> local:
        if (args or kwargs) and cls.__init__ is object.__init__:
            raise TypeError(f"{cls.__name__}() takes no arguments: a subclass with __init__ would")
        self = object.__new__(cls)
        object.__setattr__(self, "_local_args", (args, kwargs))
        object.__setattr__(self, "_local_key", _Key())
        _begin(self)  # __init__ is about to run for the greenlet that makes the object
        return self

    def __getattribute__(self, name: str) -> Any:
        mine = _attributes(self)
        if name == "__dict__":
            return mine
        if name in mine and not _is_set_by_class(type(self), name):
            return mine[name]
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        mine = _attributes(self)
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if _is_set_by_class(type(self), name):
            object.__setattr__(self, name, value)
        else:
            mine[name] = value

    def __delattr__(self, name: str) -> None:
        mine = _attributes(self)
        if name == "__dict__":
            raise AttributeError(f"{type(self).__name__!r} object attribute '__dict__' is read-only")
        if name in mine and not _is_set_by_class(type(self), name):
            del mine[name]
        else:
            object.__delattr__(self, name)


def _attributes(obj: local) -> dict[str, Any]:
    """The current greenlet's attributes of ``obj``."""
    everything: WeakKeyDictionary[_Key, dict[str, Any]] | None = getcurrent().__dict__.get(_NAME)
    if everything is not None:
        mine = everything.get(object.__getattribute__(obj, "_local_key"))
        if mine is not None:
            return mine
    mine = _begin(obj)
    args, kwargs = object.__getattribute__(obj, "_local_args")
    if type(obj).__init__ is not object.__init__:
        try:
            type(obj).__init__(obj, *args, **kwargs)
        except BaseException:
            _end(obj)  # so that the next use tries again, as threading.local does
            raise
    return mine


def _begin(obj: local) -> dict[str, Any]:
    mine: dict[str, Any] = {}
    getcurrent().__dict__.setdefault(_NAME, WeakKeyDictionary())[object.__getattribute__(obj, "_local_key")] = mine
    return mine


def _end(obj: local) -> None:
    getcurrent().__dict__[_NAME].pop(object.__getattribute__(obj, "_local_key"), None)


def _is_set_by_class(kind: type, name: str) -> bool:
    """Whether the class says how ``name`` is set, by a property or a slot: that comes before an object's attributes."""
    for base in kind.__mro__:
        if name in base.__dict__:
            kind_of_attribute = type(base.__dict__[name])
            return hasattr(kind_of_attribute, "__set__") or hasattr(kind_of_attribute, "__delete__")
    return False
