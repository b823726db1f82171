from __future__ import annotations

import ast

import pytest

from tests.docs.members import find_members, members_of

SOURCE = """
class Base:
    __slots__ = ("kept",)
    constant = 1
    declared: int

    def __init__(self):
        self.kept = self.other = 2
        self.first, self.second = 3, 4
        local.unknown = 5

    @property
    def asked(self):
        def inner():
            pass

class Derived(Base, Generic[T]):
    def own(self):
        self.late: int = 6

class Same(elsewhere.Same):
    pass
"""

BASE = {"__slots__", "constant", "declared", "__init__", "kept", "other", "first", "second", "asked"}


def test_members_are_found_with_those_that_are_inherited() -> None:
    found = members_of([node for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef)])
    assert found == {"Base": BASE, "Derived": BASE | {"own", "late"}, "Same": set()}


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("GreenSocket", "recv_into"),
        ("GreenSocket", "wait_readable"),
        ("Hub", "ready"),
        ("Server", "connections"),
        ("Response", "execute"),
        ("LifoQueue", "put"),
    ],
)
def test_the_package_is_read(name: str, member: str) -> None:
    assert member in find_members()[name]
