"""What a patch came too late for: names and locks that modules took before. Looks, and changes nothing.

It sees the attributes of modules and of their classes, and no more: there is no hunting through the garbage collector.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

from greenserve.monkey._names import is_native_lock

__all__ = ["find_late", "is_stdlib_source"]

_OURS = "greenserve"
# Python's own, and those that only start a program.
_QUIET = frozenset({"__main__", "__mp_main__", "greenlet", "sitecustomize", "usercustomize"})


def is_stdlib_source(name: str, module: Any) -> bool:
    """Whether a value of ``sys.modules`` is a module of the standard library's that is written in Python."""
    return (
        hasattr(module, "__dict__")
        and name.partition(".")[0] in sys.stdlib_module_names
        and "__builtins__" in vars(module)
    )


def find_late(originals: Mapping[int, tuple[Any, str]]) -> list[str]:
    """Return a line for each attribute that still holds what was patched, or a native lock.

    Args:
        originals: For the id of each object that was patched: the object, which keeps the id its own, and its name.
    """
    found = []
    for name, module in list(sys.modules.items()):
        # By its package: a module may be there under other names as well.
        if not _is_others(getattr(module, "__package__", None) or name) or not hasattr(module, "__dict__"):
            continue
        for path, value in _attributes(name, module):
            entry = originals.get(id(value))
            if entry is not None and entry[0] is value:
                found.append(f"{name}.{path} is {entry[1]} as it was before")
            elif is_native_lock(value):
                found.append(f"{name}.{path} is a lock that stops the whole OS thread")
            elif isinstance(value, (threading.Condition, threading.Semaphore, threading.Event)) and is_native_lock(
                _lock_of(value)
            ):
                found.append(f"{name}.{path} has a lock that stops the whole OS thread")
    return sorted(found)


def _is_others(name: str) -> bool:
    root = name.partition(".")[0]
    return root != _OURS and root not in _QUIET and root not in sys.stdlib_module_names


def _attributes(name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    for attribute, value in list(vars(module).items()):
        yield attribute, value
        if isinstance(value, type) and value.__module__ == name:
            for inner, inner_value in list(vars(value).items()):
                yield f"{attribute}.{inner}", inner_value


def _lock_of(value: Any) -> Any:
    condition = getattr(value, "_cond", value)  # of an event or a semaphore
    return getattr(condition, "_lock", None)
