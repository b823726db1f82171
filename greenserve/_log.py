"""Loggers for what `import greenserve` loads: ``logging`` costs as much to import as all the rest of it.

A program that logs has imported it anyway. For one that does not it is imported when something has to be said.
"""

from __future__ import annotations

import importlib

from greenserve._typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["get_logger"]


class _LateLogger:
    """A logger's attributes, found when they are asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module("logging").getLogger(self._name), attribute)


def get_logger(name: str) -> Logger:
    """Return what does the same as ``logging.getLogger(name)`` once it is used."""
    logger: Any = _LateLogger(name)
    return logger  # type: ignore[no-any-return]
