"""The finder that answers for eventlet's names. Knows where the face is; what is in it is the face's affair.

A module of the face is one object under two names, ``eventlet.queue`` and ``greenserve.compat.eventlet._face.queue``.
The names of ``eventlet.green`` that are nothing but a cooperative copy of a module are made when they are asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from types import ModuleType
from typing import Any

from greenserve.compat.table import GONE

__all__ = ["FACE", "VERSION", "Finder", "counterpart", "register"]

FACE = "greenserve.compat.eventlet._face"

_GREEN = f"{FACE}.green"

# The version whose names these are.
VERSION = "0.41.3"


def counterpart(name: str) -> str:
    """The name under which the face has what eventlet calls ``name``: ``eventlet.queue`` is ``….face.queue``."""
    return FACE + name.removeprefix("eventlet")


class _Alias(Loader):
    """Loads a module of the face under eventlet's name for it."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.import_module(self._target)

    def exec_module(self, module: ModuleType) -> None:
        """It has run. Its spec is the alias's by now, so that it shows itself by eventlet's name."""
        _rename(module)


class _Copy(Loader):
    """Makes one of the modules of ``eventlet.green`` that have no file."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module: ModuleType = importlib.import_module(_GREEN).load(self._name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It is complete."""


class _Metadata(Distribution):
    """What packages that ask for eventlet's version are told."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: eventlet\nVersion: {VERSION}\nSummary: greenserve, by eventlet's names\n"

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(f"eventlet is greenserve here: it has no file {path}")


class Finder(MetaPathFinder):
    """Finds ``eventlet`` and everything below it. Before all other finders, so that an installed eventlet is hidden."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # ``from eventlet.green import urllib`` asks for it by the name that the module eventlet.green has.
        is_ours = fullname.startswith(f"{_GREEN}.")
        name = "eventlet" + fullname.removeprefix(FACE) if is_ours else fullname
        if name != "eventlet" and not name.startswith("eventlet."):
            return None
        reason = GONE.get(name)
        if reason is not None:
            raise ModuleNotFoundError(f"{name} has no counterpart in greenserve: {reason}", name=fullname)
        if name.startswith("eventlet.green."):
            green = importlib.import_module(_GREEN)
            short = name.removeprefix("eventlet.green.")
            if short in green.COPIES:
                return ModuleSpec(fullname, _Copy(short), is_package=name in green.PACKAGES)
        if is_ours:
            return None
        found = importlib.util.find_spec(counterpart(name))
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        spec = ModuleSpec(fullname, _Alias(counterpart(name)), origin=found.origin, is_package=is_package)
        spec.has_location = True
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        """For ``importlib.metadata``."""
        name = (context or DistributionFinder.Context()).name
        if name is not None and name.lower() == "eventlet":
            yield _Metadata()


def register(finder: Finder) -> None:
    """Put the finder first, and the modules of the face that are loaded under eventlet's names too."""
    sys.meta_path.insert(0, finder)
    for name, module in list(sys.modules.items()):
        if name == FACE or name.startswith(f"{FACE}."):
            sys.modules["eventlet" + name.removeprefix(FACE)] = module
            _rename(module)


def _rename(module: ModuleType) -> None:
    """Let a module of the face and its classes be called as eventlet's are, for pickles, logs and ``from`` imports."""
    module.__name__ = "eventlet" + module.__name__.removeprefix(FACE)
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__.startswith(FACE):
            value.__module__ = "eventlet" + value.__module__.removeprefix(FACE)
