"""Every import of every module, held against the table of layers; and the checker itself, on sources made for it."""

from __future__ import annotations

import pytest

from tests.layers import EVERYWHERE, FOUNDATIONS, LAYERS, LOADERS, Source, find_cycles, find_violations, read_sources

SOURCES = read_sources()
MODULES = frozenset(source.module for source in SOURCES)

# A small package that never was.
MADE_UP = frozenset(
    {"__init__", "errors", "core", "core.hub", "core.timers", "net", "net.sockets", "http", "wsgi", "cli"}
)


def check(module: str, text: str, *, is_package: bool = False) -> list[str]:
    path = f"greenserve/{module.replace('.', '/')}.py"
    return find_violations(Source(module, is_package, path, text), MADE_UP)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.module)
def test_a_module_imports_only_what_its_row_allows(source: Source) -> None:
    assert find_violations(source, MODULES) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert find_cycles(SOURCES) == []


def test_the_table_is_ordered_so_that_a_row_imports_only_rows_above_it() -> None:
    rows = list(LAYERS)
    for row, allowed in LAYERS.items():
        assert allowed <= set(rows[: rows.index(row)]), row
    assert set(FOUNDATIONS) == EVERYWHERE


def test_each_module_that_may_load_others_by_name_is_a_file_of_its_row() -> None:
    assert {loader.split(".")[0] for loader in LOADERS} <= set(LAYERS) | set(FOUNDATIONS)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("core.hub", "import time\nimport greenlet\n"),
        ("core.hub", "from greenserve.core import timers\n"),
        ("core.hub", "from . import timers\nfrom .timers import Handle\n"),
        ("core.hub", "from greenserve.errors import HubError\n"),
        ("net.sockets", "import greenserve.core.hub\n"),
        ("net.sockets", "from ..core.hub import Hub\n"),
        ("net.sockets", "if TYPE_CHECKING:\n    from _typeshed import ReadableBuffer\n"),
        ("wsgi", "from greenserve import core, http\n"),
        ("__init__", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from greenserve import wsgi\n"),
        ("__init__", "def __getattr__(name):\n    return importlib.import_module(name)\n"),
    ],
)
def test_an_allowed_import_passes(module: str, text: str) -> None:
    assert check(module, text, is_package=module == "__init__") == []


@pytest.mark.parametrize(
    ("module", "text", "expected"),
    [
        ("core.hub", "import os\nimport greenserve.net.sockets\n", "core/hub.py:2: imports greenserve.net.sockets"),
        (
            "core.hub",
            "from greenserve.net.sockets import GreenSocket\n",
            "core/hub.py:1: imports greenserve.net.sockets",
        ),
        ("core.hub", "from greenserve import net\n", "core/hub.py:1: imports greenserve.net"),
        ("core.hub", "from greenserve import spawn\n", "core/hub.py:1: imports greenserve:"),
        ("core.hub", "from ..net import sockets\n", "core/hub.py:1: imports greenserve.net.sockets"),
        ("core.hub", "from .. import net\n", "core/hub.py:1: imports greenserve.net"),
        ("core.hub", "try:\n    import greenserve.wsgi\nexcept ImportError:\n    pass\n", "core/hub.py:2: imports"),
        ("core.hub", "def f():\n    import os\n", "core/hub.py:2: imports os inside a function"),
        (
            "core.hub",
            "class A:\n    def f(self):\n        from . import timers\n",
            "core/hub.py:3: imports greenserve.core",
        ),
        ("core.hub", "async def f():\n    if 1:\n        import os\n", "core/hub.py:3: imports os inside a function"),
        ("core.hub", "if TYPE_CHECKING:\n    from greenserve.net.sockets import A\n", "core/hub.py:2: imports"),
        ("core.hub", "import socket\n", "core/hub.py:1: imports socket: core refuses to know it"),
        ("core.hub", "from socket import socketpair\n", "core/hub.py:1: imports socket: core refuses to know it"),
        ("core.hub", "import requests\n", "core/hub.py:1: imports requests: neither ours nor"),
        ("core.hub", "import importlib\nimportlib.import_module('x')\n", "core/hub.py:2: loads a module by its name"),
        ("core.hub", "__import__('x')\n", "core/hub.py:1: loads a module by its name"),
        (
            "http",
            "from greenserve.core.hub import Hub\n",
            "http.py:1: imports greenserve.core.hub: http may import no other",
        ),
        (
            "errors",
            "from greenserve.core.hub import Hub\n",
            "errors.py:1: imports greenserve.core.hub: errors stands under",
        ),
        (
            "__init__",
            "from greenserve import wsgi\n",
            "__init__.py:1: imports greenserve.wsgi: __init__ may import core",
        ),
        ("stray", "import os\n", "stray.py:1: stray has no row"),
    ],
)
def test_a_forbidden_import_is_reported_with_its_file_and_line(module: str, text: str, expected: str) -> None:
    reports = check(module, text, is_package=module == "__init__")
    assert len(reports) == 1
    assert reports[0].startswith(f"greenserve/{expected}")


def test_a_forbidden_import_inside_a_function_is_reported_for_both() -> None:
    assert len(check("core.hub", "def f():\n    from greenserve import net\n")) == 2


def test_a_circle_is_found_through_any_number_of_modules() -> None:
    sources = [
        Source("core.hub", False, "hub.py", "from greenserve.core.timers import A\n"),
        Source("core.timers", False, "timers.py", "import greenserve.errors\n"),
        Source("errors", False, "errors.py", "from greenserve.core import hub\n"),
        Source("http", False, "http.py", "from greenserve import errors\n"),
    ]
    assert find_cycles(sources) == [["core.hub", "core.timers", "errors"]]


def test_an_import_for_types_alone_makes_no_circle() -> None:
    sources = [
        Source("core.hub", False, "hub.py", "from greenserve.core.timers import A\n"),
        Source("core.timers", False, "timers.py", "if TYPE_CHECKING:\n    from greenserve.core.hub import A\n"),
    ]
    assert find_cycles(sources) == []
