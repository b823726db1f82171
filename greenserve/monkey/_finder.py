"""Modules that are adapted right after their code has run, whenever that is. Knows neither the table nor any package.

Facts this rests on (CPython's ``importlib``):

- A module that is imported for the first time, imported anew, or reloaded is asked of ``sys.meta_path``, by its name.
- Whatever loads modules is an object that may be copied, or a class, as for what is built into the interpreter. One
  object may load many of them.

What this means for us: a loader of our own is a copy of the one that was found, told to adapt what it has loaded. It
has all that the module may be asked of later: its source, its resources.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["AdaptingFinder"]


class AdaptingFinder:
    """A finder for ``sys.meta_path``, first of all, that finds some modules as they would be found without it.

    Args:
        adapt: What to call for a module, with the module, by the module's name.
    """

    def __init__(self, adapt: Mapping[str, Callable[[Any], None]]) -> None:
        self._adapt = adapt

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load one of the modules; None for every other one, which is for the other finders."""
        adapt = self._adapt.get(name)
        if adapt is None:
            return None
        for finder in sys.meta_path:
            find = getattr(
                finder, "find_spec", None
            )  # finders of before Python 3.4 have none, and importlib lets them be
            if find is not None and finder is not self and (spec := find(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _adapting(spec.loader, adapt)
                found: ModuleSpec = spec
                return found
        return None


def _adapting(found: Any, adapt: Callable[[Any], None]) -> Any:
    loader = found() if isinstance(found, type) else copy(found)
    loader.exec_module = partial(_exec_module, loader, adapt)
    return loader


def _exec_module(loader: Any, adapt: Callable[[Any], None], module: Any) -> None:
    del loader.exec_module  # from here on the loader is as the one that was found
    loader.exec_module(module)
    adapt(module)
