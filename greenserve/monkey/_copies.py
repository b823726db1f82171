"""Copies of modules, with everything that the patch is about as it is green, or as it was. Changes only its copies.

A copy is the module's code, run once more: its functions and classes look up what they use in the copy. The module's
own name in ``sys.modules`` stands for the copy while that runs, since enums and the like look themselves up there.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from greenserve.monkey._names import MISSING, write
from greenserve.monkey._table import ROWS, Row

__all__ = ["Copies"]

_MODULES = tuple(dict.fromkeys(row.module for row in ROWS))

# Those without code of their own, from which the others take what they use while they are run.
_FOUNDATIONS = ("_thread", "time", "select", "_queue")


class Copies:
    """Copies of modules, made when they are asked for, each once.

    Args:
        pick: What a row's name is to be in a copy, or MISSING to leave it as it is.
        counterpart: What an object found under any name is to be, or MISSING.
    """

    def __init__(self, pick: Callable[[Row], Any], counterpart: Callable[[Any], Any]) -> None:
        self._pick = pick
        self._counterpart = counterpart
        self._copies: dict[str, ModuleType] = {}

    def get(self, name: str) -> ModuleType:
        """Return the copy of the module called ``name``.

        Raises:
            ImportError: There is no such module.
        """
        copy = self._copies.get(name)
        if copy is None:
            source = importlib.import_module(name)
            copy = self._copies[name] = ModuleType(name)
            if "__builtins__" in vars(source):
                self._run(name, copy)
            else:
                vars(copy).update(vars(source))
            self._replace(name, copy)
        return copy

    def _run(self, name: str, copy: ModuleType) -> None:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            raise ImportError(f"no code for the module {name!r}", name=name)
        vars(copy).update(vars(importlib.util.module_from_spec(spec)))
        # A package has its modules as attributes from when each was first imported, which happens once.
        for each, module in list(sys.modules.items()):
            package, _, last = each.rpartition(".")
            if package == name:
                setattr(copy, last, module)
        beneath = {each: self.get(each) for each in _FOUNDATIONS}
        with _standing_in({**beneath, name: copy}):
            spec.loader.exec_module(copy)
        if name == "threading":
            # The interpreter asks only the real module to wait for threads.
            atexit.register(copy._shutdown)

    def _replace(self, name: str, copy: ModuleType) -> None:
        for key, value in list(vars(copy).items()):
            if isinstance(value, ModuleType):
                if value.__name__ in _MODULES and value.__name__ != name and not key.startswith("__"):
                    setattr(copy, key, self.get(value.__name__))
                continue
            other = self._counterpart(value)
            if other is not MISSING:
                setattr(copy, key, other)
        for row in ROWS:
            if row.module == name:
                value = self._pick(row)
                if value is not MISSING:
                    write(copy, row.name, value)


@contextmanager
def _standing_in(modules: dict[str, ModuleType]) -> Iterator[None]:
    before = {name: sys.modules[name] for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        sys.modules.update(before)
