"""Which members the package's classes have, read from its sources: methods, class attributes, slots, ``self.x = ...``.

Nothing is imported, since an object's attributes are seen in no class.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.layers import read_sources


def find_members() -> dict[str, set[str]]:
    """Return the members of each class of the package, inherited ones too. Classes of one name count as one."""
    trees = [ast.parse(source.text, source.path) for source in read_sources()]
    return members_of([node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)])


def members_of(classes: list[ast.ClassDef]) -> dict[str, set[str]]:
    own: defaultdict[str, set[str]] = defaultdict(set)
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for node in classes:
        own[node.name].update(_own_members(node))
        bases[node.name].update(_names(node.bases))
    return {name: set().union(*(own.get(base, ()) for base in _line_of(name, bases))) for name in own}


def _line_of(name: str, bases: Mapping[str, set[str]]) -> set[str]:
    """Return the class and all those that it descends from."""
    line: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current not in line:  # a class may have the name of its own base
            line.add(current)
            waiting.extend(bases.get(current, ()))
    return line


def _names(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        named = node.value if isinstance(node, ast.Subscript) else node  # Generic[T], LightQueue[T]
        yield named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")


def _own_members(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield statement.name
        for target in _targets(statement):
            if isinstance(target, ast.Name):
                yield target.id
    for inner in ast.walk(node):
        for target in _targets(inner):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr


def _targets(statement: ast.AST) -> Iterator[ast.expr]:
    if isinstance(statement, ast.AnnAssign):
        yield statement.target
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from target.elts if isinstance(target, ast.Tuple) else [target]
