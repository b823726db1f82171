"""Prints the parameters of every callable among eventlet's names, as JSON; run under eventlet or under greenserve.

Names and modules come on standard input. ``*`` and ``**`` stand for what a function takes beside its own.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from typing import Any


def describe(value: Any) -> list[str]:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return []
    found = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            found.append("*" if parameter.kind is parameter.VAR_POSITIONAL else "**")
        else:
            default = parameter.default
            simple = isinstance(default, (bool, int, float, str, tuple, type(None)))
            shown = "" if default is parameter.empty else f"={default!r}" if simple else "=..."
            found.append(f"{parameter.name}{shown}")
    return found


def methods(value: type) -> dict[str, list[str]]:
    return {
        name: describe(member)
        for name, member in inspect.getmembers(value)
        if not name.startswith("_") and inspect.isroutine(member) and _is_its_own(value, name)
    }


def _is_its_own(kind: type, name: str) -> bool:
    holder = next(base for base in kind.__mro__ if name in vars(base))
    return holder.__module__.split(".")[0] in {"eventlet", "greenserve"}


def main() -> None:
    described: dict[str, Any] = {}
    for module_name, names in json.load(sys.stdin).items():
        module = importlib.import_module(module_name)
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, type):
                described[f"{module_name}.{name}"] = {"__init__": describe(value), **methods(value)}
            elif callable(value):
                described[f"{module_name}.{name}"] = {"": describe(value)}
    json.dump(described, sys.stdout)


if __name__ == "__main__":
    main()
