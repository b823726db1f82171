"""``eventlet.support``: small helpers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from greenserve.compat.eventlet._face.support import greenlets

__all__ = ["bytes_to_str", "get_errno", "greenlets", "wrap_deprecated"]


def get_errno(exc: BaseException) -> Any:
    """The errno of an exception: its attribute, or else its first argument."""
    code = getattr(exc, "errno", None)
    if code is not None:
        return code
    return exc.args[0] if exc.args else None


def bytes_to_str(b: bytes, encoding: str = "ascii") -> str:
    """``b`` as text."""
    return b.decode(encoding)


def wrap_deprecated(old: str, new: str) -> Callable[[Any], Any]:
    """Return a decorator for a function or class: with each use it warns that ``old`` is called ``new`` now."""
    message = f"{_full(old)} is deprecated: its name is {_full(new)} now"

    def wrap(base: Any) -> Any:
        if isinstance(base, type):
            return _warning_class(base, message)

        @functools.wraps(base)
        def call(*args: Any, **kwargs: Any) -> Any:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return base(*args, **kwargs)

        return call

    return wrap


def _full(name: str) -> str:
    return name if "." in name else f"eventlet.{name}"


def _warning_class(base: type, message: str) -> type:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it becomes the class's
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        base.__init__(self, *args, **kwargs)  # type: ignore[misc]  # whatever the class takes

    return type(base.__name__, (base,), {"__init__": __init__, "__module__": base.__module__})
