"""Which module of the package may import which: the table, and the reader that holds a source against it.

Reads sources only: nothing is imported. A file is a module by its path: ``core/hub.py`` is ``core.hub``, and the
package's own ``__init__.py``, the public face, is ``__init__``. A row of the table is a module's first component.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent.parent / "greenserve"

# What every row may import.
EVERYWHERE = frozenset(
    {
        "errors",
        "_originals",
        "settings",
        "_setting",
        "_debug_settings",
        "_process_settings",
        "_watch_settings",
        "_kinds",
        "extras",
        "_log",
        "_words",
        "_suggest",
        "_typing",
        "_version",
    }
)

_SERVER = frozenset({"http", "core", "sync", "net", "wsgi"})
_ABOVE_SUPERVISOR = _SERVER | {
    "_bus",
    "db_pool",
    "websocket",
    "green",
    "monkey",
    "aio",
    "debug",
    "config",
    "_toml",
    "configfile",
    "apps",
    "logs",
    "_look",
    "binds",
}
_ABOVE_THE_LEAVES = _ABOVE_SUPERVISOR | {"supervisor", "testing"}

# Row: the rows above that it may import, beside EVERYWHERE and itself. docs/explanation/architecture.md says why.
LAYERS: dict[str, frozenset[str]] = {
    "http": frozenset(),
    "core": frozenset(),
    "sync": frozenset({"core"}),
    "net": frozenset({"core", "sync"}),
    "_bus": frozenset({"core", "sync", "net"}),
    "db_pool": frozenset({"core", "sync", "net"}),
    "wsgi": frozenset({"http", "core", "sync", "net"}),
    "websocket": _SERVER,
    "green": frozenset({"core", "sync", "net"}),
    "monkey": frozenset({"green"}),
    "aio": frozenset({"core", "sync", "net", "green"}),
    "debug": frozenset({"core", "net"}),
    "config": frozenset(),
    "_toml": frozenset(),
    "configfile": frozenset({"config"}),
    "apps": frozenset(),
    "logs": frozenset(),
    "_look": frozenset(),
    "binds": frozenset({"core", "sync", "net"}),
    "supervisor": _ABOVE_SUPERVISOR,
    "testing": _ABOVE_SUPERVISOR | {"supervisor"},
    "metrics": frozenset({"core", "net", "wsgi", "supervisor"}),
    "admin": frozenset({"_look", "core", "wsgi", "config", "logs", "binds", "supervisor", "metrics"}),
    "demo": frozenset({"_look", "core"}),
    "cli": _ABOVE_THE_LEAVES | {"metrics", "admin", "demo"},
    "compat": _SERVER | {"db_pool", "websocket", "green", "monkey", "aio", "debug"},
    "contrib": _SERVER | {"_bus", "websocket", "monkey", "config"},
    "__main__": frozenset({"cli"}),
    "__init__": frozenset({"core", "sync", "net"}),
}

# The rows under EVERYWHERE stand on less than it.
FOUNDATIONS: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "_typing": frozenset(),
    "_originals": frozenset({"_typing"}),
    "_log": frozenset({"_typing"}),
    "_words": frozenset(),
    "_suggest": frozenset(),
    "_version": frozenset(),
    "_kinds": frozenset({"_typing"}),
    "_setting": frozenset({"errors", "_kinds", "_typing"}),
    "_debug_settings": frozenset({"_kinds", "_setting", "_typing"}),
    "_process_settings": frozenset({"_kinds", "_setting"}),
    "_watch_settings": frozenset({"_kinds", "_setting"}),
    "settings": frozenset({"_debug_settings", "_kinds", "_process_settings", "_setting", "_watch_settings"}),
    "extras": frozenset({"errors"}),
}

# The public face names these for type checkers, under TYPE_CHECKING; at run time PEP 562 loads them when asked for.
FACE = frozenset({"wsgi", "monkey", "websocket", "aio", "debug", "green", "net.tls"})

# Modules that may load another one by its name, and what they load so.
LOADERS = {
    "monkey": "the modules of the standard library that it patches",
    "monkey._copies": "the modules that it copies",
    "__init__": "the public submodules, by PEP 562",
    "extras": "the one module that is wholly about an optional dependency",
    "apps": "the user's application",
    "_log": "logging, when there is something to log",
    "compat.eventlet._install": "the face, once eventlet's names are asked for",
    "compat.eventlet._names": "the face's module for a name of eventlet's",
    "compat.eventlet._face.green": "the modules that it copies",
    "compat.eventlet._face.hubs": "the module of a hub that is named",
    "compat.eventlet._face.patcher": "the modules that are imported anew",
    "compat.eventlet._inherit.sitecustomize": "the next sitecustomize",
}

# Rows that refuse to know a part of the standard library.
REFUSED: dict[str, frozenset[str]] = {
    "http": frozenset({"socket", "ssl", "select", "selectors", "threading", "asyncio", "greenlet"}),
    "core": frozenset({"socket", "ssl", "asyncio", "http"}),
}

# What is neither ours nor the standard library's: greenlet, and in the one module about an extra its package and what
# comes with that.
EXTRA_MODULES: dict[str, str] = {
    "compat.eventlet._face.green.MySQLdb": "MySQLdb",
    "compat.eventlet._face.green.zmq": "zmq",
    "_toml": "tomli",
    "admin.top": "rich",
    "contrib._celery": "celery kombu",
    "contrib._sessions": "socketio engineio",
    "contrib.django.apps": "django",
    "contrib.django.management.commands.greenserve": "django",
    "contrib.flask": "flask click werkzeug",
    "contrib.flask_socketio": "flask_socketio werkzeug",
    "contrib.gunicorn": "gunicorn",
    "contrib.socketio": "socketio engineio",
    "supervisor._setproctitle": "setproctitle",
    "supervisor._watchfiles": "watchfiles",
    "websocket.codec": "websockets",
}


class Import(NamedTuple):
    """One module that a source names in an import statement."""

    line: int
    name: str  # absolute and dotted
    in_function: bool
    typing_only: bool


class Source(NamedTuple):
    """One module of the package, as text."""

    module: str  # without the package's name: "core.hub", "core", "__init__"
    is_package: bool
    path: str  # for messages: "greenserve/core/hub.py"
    text: str


def read_sources(package: Path = PACKAGE) -> list[Source]:
    sources = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts) or "__init__"
        sources.append(Source(module, is_package, path.relative_to(package.parent).as_posix(), path.read_text()))
    return sources


def find_imports(source: Source, modules: frozenset[str]) -> Iterator[Import]:
    """Yield what the source imports, with relative names resolved. ``modules`` are all of the package's modules."""
    yield from _walk(ast.parse(source.text, source.path), source, modules, in_function=False, typing_only=False)


def _walk(
    node: ast.AST, source: Source, modules: frozenset[str], *, in_function: bool, typing_only: bool
) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(node.lineno, alias.name, in_function, typing_only)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, source)
        for alias in node.names:
            # "from a import b" imports the module a.b where there is one, else the name b out of a.
            name = f"{base}.{alias.name}"
            yield Import(node.lineno, name if _short(name) in modules else base, in_function, typing_only)
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for child in node.body:
            yield from _walk(child, source, modules, in_function=in_function, typing_only=True)
        for child in node.orelse:
            yield from _walk(child, source, modules, in_function=in_function, typing_only=typing_only)
    else:
        in_function = in_function or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, source, modules, in_function=in_function, typing_only=typing_only)


def _absolute(node: ast.ImportFrom, source: Source) -> str:
    if not node.level:
        return node.module or ""
    here = ["greenserve"] if source.module == "__init__" else ["greenserve", *source.module.split(".")]
    package = here if source.is_package else here[:-1]
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, node.module] if node.module else base)


def _short(name: str) -> str | None:
    """Return the name as the tables have it, or None for a module that isn't ours."""
    if name == "greenserve":
        return "__init__"
    return name.removeprefix("greenserve.") if name.startswith("greenserve.") else None


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def find_violations(source: Source, modules: frozenset[str]) -> list[str]:
    """Return a line for each import of the source that the tables don't allow, beginning ``file:line: ``."""
    row = source.module.split(".")[0]
    if row not in LAYERS and row not in FOUNDATIONS:
        return [f"{source.path}:1: {row} has no row in the table of layers"]
    found = []
    for item in find_imports(source, modules):
        reason = _why_not(item, source.module, row)
        if item.in_function:
            found.append(f"{source.path}:{item.line}: imports {item.name} inside a function")
        if reason:
            found.append(f"{source.path}:{item.line}: imports {item.name}: {reason}")
    if source.module not in LOADERS:
        found += [
            f"{source.path}:{line}: loads a module by its name; only {', '.join(LOADERS)} may"
            for line in _loads_by_name(source)
        ]
    return found


def _why_not(item: Import, module: str, row: str) -> str | None:
    target = _short(item.name)
    if target is None:
        return _why_not_outside(item, module, row)
    target_row = target.split(".")[0]
    if target_row == row and module != target:
        return None
    if row in FOUNDATIONS:
        return None if target_row in FOUNDATIONS[row] else f"{row} stands under it"
    if module == "__init__" and item.typing_only and target in FACE:
        return None
    if target_row in EVERYWHERE or target_row in LAYERS[row]:
        return None
    return f"{row} may import {', '.join(sorted(LAYERS[row])) or 'no other row'}"


def _why_not_outside(item: Import, module: str, row: str) -> str | None:
    name = item.name.split(".")[0]
    if item.typing_only and name == "_typeshed":  # a part of every type checker
        return None
    if name in REFUSED.get(row, ()):
        return f"{row} refuses to know it"
    # tomllib is in the standard library since Python 3.11.
    if (
        name in sys.stdlib_module_names
        or name in {"greenlet", "tomllib"}
        or name in EXTRA_MODULES.get(module, "").split()
    ):
        return None
    return "neither ours nor the standard library's, and not the extra that this module is about"


def _loads_by_name(source: Source) -> Iterator[int]:
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Call):
            called = node.func
            name = (
                called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
            )
            if name in {"import_module", "__import__"}:
                yield node.lineno


def find_cycles(sources: list[Source]) -> list[list[str]]:
    """Return the groups of modules that import one another in a circle at run time, each sorted."""
    modules = frozenset(source.module for source in sources)
    graph = {
        source.module: {
            short
            for item in find_imports(source, modules)
            if not item.typing_only and (short := _short(item.name)) in modules and short != source.module
        }
        for source in sources
    }
    reach = {module: _reachable(graph, module) for module in graph}
    groups = {
        frozenset({module, *(other for other in reach[module] if module in reach[other])})
        for module in graph
        if module in reach[module]
    }
    return sorted(sorted(group) for group in groups)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += graph[module]
    return seen
