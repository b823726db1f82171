"""``greenserve-migrate PATH``: what is to be done about each use of eventlet or gevent in a code base. Runs none of it.

It reads sources by ``ast``, and follows names from the imports of a file: what an ``import`` binds stands for the
module or the name throughout that file. It does not see what is imported by a string or looked up by ``getattr``.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import sys
import tokenize
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from greenserve._version import __version__
from greenserve._words import counted
from greenserve.compat.table import KEYWORDS, NAMES, Note, Verdict, find_note

__all__ = ["Unreadable", "Use", "find_uses", "main", "read_tree"]

_PACKAGES = ("eventlet", "gevent")
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages"})

_COLOURS = {Verdict.AS_IS: "32", Verdict.DIFFERENCE: "33", Verdict.CHANGE: "31"}

NOTHING_TO_DO = 0
CHANGES_NEEDED = 1
NOT_READ = 2


class Use(NamedTuple):
    """One place in a source where a name of eventlet's or gevent's is used."""

    path: str
    line: int
    column: int  # from 1 on, as editors count
    name: str  # dotted: "eventlet.wsgi.server"
    verdict: Verdict
    text: str  # the difference, or what to write instead; may be empty


class Unreadable(NamedTuple):
    """A file that could not be read."""

    path: str
    reason: str


def find_uses(source: str, path: str = "<source>") -> list[Use]:
    """Return the uses in one source, in the order of their lines.

    Raises:
        SyntaxError: It is no Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an escape sequence, say: not our affair
        tree = ast.parse(source, path)
    reader = _Reader(path)
    reader.read_imports(tree)
    reader.visit(tree)
    return sorted(set(reader.uses))


class _Reader(ast.NodeVisitor):
    """Collects the uses in one tree."""

    def __init__(self, path: str) -> None:
        self.uses: list[Use] = []
        self._path = path
        self._bound: dict[str, str] = {}  # a name in the file: what it stands for
        self._local: list[set[str]] = []  # the names that each function around binds to something else

    def read_imports(self, tree: ast.AST) -> None:
        """Learn what the names of the file stand for."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if _is_theirs(alias.name):
                        bound = alias.asname or alias.name.partition(".")[0]
                        self._bound[bound] = alias.name if alias.asname else bound
            elif isinstance(node, ast.ImportFrom) and not node.level and _is_theirs(node.module or ""):
                for alias in node.names:
                    self._bound[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def _add(self, node: ast.stmt | ast.expr, name: str, note: Note) -> None:
        self.uses.append(Use(self._path, node.lineno, node.col_offset + 1, name, note.verdict, note.text))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if _is_theirs(alias.name):
                self._add(node, alias.name, find_note(alias.name))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not _is_theirs(node.module or ""):
            return
        for alias in node.names:
            name = node.module or "" if alias.name == "*" else f"{node.module}.{alias.name}"
            self._add(node, name, find_note(name))

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self._local.append(_bound_in(node))
        self.generic_visit(node)
        self._local.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit_FunctionDef(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._resolve(node)
        if name is None:
            self.generic_visit(node)
        elif name not in NAMES:  # the module in "module.name" is no use of its own
            self._add(node, name, find_note(name))

    def visit_Name(self, node: ast.Name) -> None:
        name = self._resolve(node)
        if name is not None and name not in NAMES and isinstance(node.ctx, ast.Load):
            self._add(node, name, find_note(name))

    def visit_Call(self, node: ast.Call) -> None:
        called = self._resolve(node.func)
        if called is not None:
            given = [(keyword.arg, keyword.value) for keyword in node.keywords]
            given += [("mod", argument) for argument in node.args[:1]]
            for name, value in given:
                if isinstance(value, ast.Constant) and (called, name, value.value) in KEYWORDS:
                    self._add(value, f"{called}({name}={value.value!r})", KEYWORDS[called, name or "", value.value])
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in map(self._resolve, node.bases):
            for statement in node.body if base is not None else ():
                for name in _assigned(statement):
                    full = f"{base}.{name}"
                    if find_note(full) is not find_note(base or ""):
                        self._add(statement, full, find_note(full))
        self.generic_visit(node)

    def _resolve(self, node: ast.expr) -> str | None:
        """What a chain of names such as ``eventlet.wsgi.server`` stands for."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._bound or any(node.id in each for each in self._local):
            return None
        return ".".join([self._bound[node.id], *reversed(parts)])


def _bound_in(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """The names that a function binds, by its parameters and assignments; not those that it imports or calls global."""
    bound = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    nodes = [] if isinstance(function, ast.Lambda) else [node for each in function.body for node in ast.walk(each)]
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound - {name for node in nodes if isinstance(node, ast.Global) for name in node.names}


def _assigned(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_theirs(module: str) -> bool:
    return module.partition(".")[0] in _PACKAGES


def read_tree(paths: Iterable[Path]) -> Iterator[Use | Unreadable]:
    """Yield the uses in ``paths``, files and directories with all Python files below, and what could not be read."""
    for path in paths:
        for file in _files(path):
            try:
                with tokenize.open(file) as stream:
                    source = stream.read()
                yield from find_uses(source, str(file))
            except SyntaxError as exc:  # of the encoding's declaration too
                yield Unreadable(str(file), f"line {exc.lineno}: {exc.msg}" if exc.lineno else str(exc.msg))
            except (OSError, UnicodeDecodeError, ValueError, RecursionError) as exc:
                yield Unreadable(str(file), str(exc) or type(exc).__name__)


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for directory, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(".") and name not in _SKIPPED)
        for file in sorted(files):
            if file.endswith(".py"):
                yield Path(directory, file)


# Telling ------------------------------------------------------------------------------------------------------------


def _write_text(found: Sequence[Use | Unreadable], stream: TextIO, colour: bool) -> None:
    for each in found:
        if isinstance(each, Unreadable):
            stream.write(f"{each.path}: {_painted('not read', '35', colour)}: {each.reason}\n")
            continue
        verdict = _painted(each.verdict.value, _COLOURS[each.verdict], colour)
        stream.write(
            f"{each.path}:{each.line}:{each.column}: {each.name} {verdict}{': ' if each.text else ''}{each.text}\n"
        )
    uses = [each for each in found if isinstance(each, Use)]
    counts = [counted(sum(use.verdict is verdict for use in uses), *_SUMMARY[verdict]) for verdict in Verdict]
    unread = len(found) - len(uses)
    if unread:
        counts.append(f"{counted(unread, 'file')} not read")
    stream.write(f"{counted(len(uses), 'use')}: {', '.join(counts)}\n")


_SUMMARY = {
    Verdict.AS_IS: ("runs as it is", "run as they are"),
    Verdict.DIFFERENCE: ("runs with a difference", "run with a difference"),
    Verdict.CHANGE: ("needs a change", "need a change"),
}


def _painted(text: str, colour: str, on: bool) -> str:
    return f"\033[{colour}m{text}\033[0m" if on else text


def _write_json(found: Sequence[Use | Unreadable], stream: TextIO) -> None:
    uses = [each for each in found if isinstance(each, Use)]
    document = {
        "uses": [{**use._asdict(), "verdict": use.verdict.name.lower()} for use in uses],
        "not_read": [each._asdict() for each in found if isinstance(each, Unreadable)],
        "counts": {verdict.name.lower(): sum(use.verdict is verdict for use in uses) for verdict in Verdict},
    }
    json.dump(document, stream, indent=2)
    stream.write("\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 nothing to do, 1 something needs a change, 2 something was not read."""
    parser = argparse.ArgumentParser(
        prog="greenserve-migrate",
        description="Report each use of eventlet or gevent in a code base: whether it runs as it is under "
        "greenserve.compat.eventlet, with a difference, or needs a change.",
        epilog="The exit code is 0 if nothing needs a change, 1 if something does, 2 if a file could not be read.",
    )
    parser.add_argument("path", nargs="+", type=Path, help="a file, or a directory with Python files below")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--version", action="version", version=f"greenserve {__version__}")
    arguments = parser.parse_args(argv)
    found = list(read_tree(arguments.path))
    if arguments.json:
        _write_json(found, sys.stdout)
    else:
        _write_text(found, sys.stdout, sys.stdout.isatty() and not os.environ.get("NO_COLOR"))
    if any(isinstance(each, Use) and each.verdict is Verdict.CHANGE for each in found):
        return CHANGES_NEEDED
    return NOT_READ if any(isinstance(each, Unreadable) for each in found) else NOTHING_TO_DO


if __name__ == "__main__":
    sys.exit(main())
