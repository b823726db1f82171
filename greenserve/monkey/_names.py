"""Dotted names in modules: reading, writing, and telling whether a value is a lock of the system's. Knows no rows."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from greenserve import _originals

__all__ = ["MISSING", "is_held", "is_native_lock", "read", "write"]

MISSING: Any = object()

_LOCK_TYPE: type = type(_originals.allocate_lock())
_RLOCK_TYPE: Any = _originals.allocate_rlock


def _parent(module: ModuleType | type | Any, name: str) -> tuple[Any, str]:
    *path, last = name.split(".")
    holder: Any = module
    for part in path:
        holder = getattr(holder, part, MISSING)
    return holder, last


def read(module: ModuleType, name: str) -> Any:
    """Return the value of a dotted name as it is stored, or MISSING."""
    holder, last = _parent(module, name)
    if isinstance(holder, type):
        return vars(holder).get(last, MISSING)  # a staticmethod as such, and nothing that is inherited
    return getattr(holder, last, MISSING)


def write(module: ModuleType, name: str, value: Any) -> None:
    """Set a dotted name."""
    holder, last = _parent(module, name)
    setattr(holder, last, value)


def is_native_lock(value: Any) -> bool:
    """Whether ``value`` is a lock that stops the whole OS thread."""
    return isinstance(value, (_LOCK_TYPE, _RLOCK_TYPE))


def is_held(lock: Any) -> bool:
    """Whether anybody holds a native lock."""
    if isinstance(lock, _RLOCK_TYPE) and lock._is_owned():
        return True
    if not lock.acquire(False):
        return True
    lock.release()
    return False
