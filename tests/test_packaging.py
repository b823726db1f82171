"""What pyproject.toml says, held against the code, so that no fact in two places can part from itself."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from greenserve._version import __version__
from tests.layers import EXTRA_MODULES, PACKAGE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = PACKAGE.parent
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

# An extra: the package that it brings. Those whose code exists stand in pyproject.toml.
EXTRAS = {
    "celery": "celery",
    "django": "django",
    "flask": "flask",
    "flask-socketio": "flask-socketio",
    "gunicorn": "gunicorn",
    "mysql": "mysqlclient",
    "socketio": "python-socketio",
    "websocket": "websockets",
    "dns": "dnspython",
    "http2": "h2",
    "reload": "watchfiles",
    "metrics": "prometheus-client",
    "top": "rich",
    "title": "setproctitle",
    "toml": "tomli",
    "zmq": "pyzmq",
}

# Packages whose modules have another name.
MODULE_NAMES = {
    "dnspython": "dns",
    "flask-sock": "flask_sock",
    "flask-socketio": "flask_socketio",
    "mysqlclient": "MySQLdb",
    "prometheus-client": "prometheus_client",
    "pytest-timeout": "pytest_timeout",
    "python-socketio": "socketio",
    "pyyaml": "yaml",
    "pyzmq": "zmq",
    "simple-websocket": "simple_websocket",
}


def extra_modules() -> list[str]:
    """Return the names that the optional packages are imported by."""
    return [MODULE_NAMES.get(package, package) for package in EXTRAS.values()]


def packages(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_greenlet_is_the_only_dependency() -> None:
    assert packages(PROJECT["dependencies"]) == {"greenlet"}


def test_every_extra_brings_the_package_that_it_is_named_for() -> None:
    extras = {name: needs for name, needs in PROJECT["optional-dependencies"].items() if name != "test"}
    assert {name: packages(needs) for name, needs in extras.items()} == {name: {EXTRAS[name]} for name in extras}


def test_every_module_about_an_extra_has_its_extra() -> None:
    extras = {EXTRAS[name] for name in PROJECT["optional-dependencies"] if name != "test"}
    # The first of a module's packages is the one that the extra brings; others come with it.
    assert {names.split()[0] for names in EXTRA_MODULES.values()} == {
        MODULE_NAMES.get(package, package) for package in extras
    }


def test_the_test_extra_brings_everything_that_the_tests_import() -> None:
    imported = {name for path in (ROOT / "tests").rglob("*.py") for name in top_level_imports(path)}
    ours = {"greenserve", "tests", "benchmarks", "greenlet"}
    # tomllib became part of the standard library with Python 3.11; the extra has tomli for those before.
    standard = sys.stdlib_module_names | {"tomllib"}
    brought = packages(PROJECT["optional-dependencies"]["test"])
    # The fuzzers, run by hand, go on without it; it is built from source on some systems.
    optional = {"atheris"}
    assert imported - standard - ours - optional - {MODULE_NAMES.get(name, name) for name in brought} == set()


def top_level_imports(path: Path) -> set[str]:
    """Return the packages that a file imports when it is imported, so not those of `pytest.importorskip`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_one_oldest_python_everywhere() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    classified = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)]
    assert classified[0] == oldest
    assert PYPROJECT["tool"]["mypy"]["python_version"] == oldest
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"


def test_the_version_has_one_source() -> None:
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "greenserve/_version.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", __version__)
    holders = [p.name for p in PACKAGE.rglob("*.py") if re.search(r"^__version__ = ", p.read_text(), re.MULTILINE)]
    assert holders == ["_version.py"]


def test_the_changelog_tells_of_this_version() -> None:
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert __version__ in headings


def test_the_installed_package_is_this_one() -> None:
    try:
        installed = importlib.metadata.version("greenserve")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("greenserve runs from its sources here, without being installed")
    assert installed == __version__


def test_each_command_is_a_function_that_exists() -> None:
    for target in PROJECT["scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_types_and_license_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert [name for name in PROJECT["license-files"] if not (ROOT / name).is_file()] == []
