"""What is said when an optional dependency is not installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from greenserve import extras
from greenserve.errors import MissingExtra


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in {
        "needs_much": "import a_library_that_nobody_has\n",
        "needs_ours": "import greenserve.a_module_that_is_not_there\n",
        "needs_little": "import json\n",
        "fails": "1 / 0\n",
    }.items():
        (tmp_path / f"extra_{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, f"extra_{name}", raising=False)
    importlib.invalidate_caches()


def test_a_module_whose_dependency_is_there_is_returned() -> None:
    assert extras.load("little", "extra_needs_little").__name__ == "extra_needs_little"


def test_a_missing_dependency_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtra) as caught:
        extras.load("much", "extra_needs_much")
    assert str(caught.value) == (
        "extra_needs_much needs a_library_that_nobody_has, which is not installed; try: pip install 'greenserve[much]'"
    )
    assert caught.value.name == "a_library_that_nobody_has"


def test_a_missing_part_of_python_is_named_and_no_extra_is_blamed() -> None:
    with pytest.raises(MissingExtra) as caught:
        extras.load(None, "extra_needs_much")
    assert str(caught.value) == "extra_needs_much needs a_library_that_nobody_has, which this Python was built without"


def test_a_missing_extra_is_an_import_error_to_those_who_know_no_other() -> None:
    with pytest.raises(ImportError):
        extras.load("much", "extra_needs_much")


def test_a_missing_module_of_our_own_is_not_blamed_on_an_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        extras.load("ours", "extra_needs_ours")


def test_what_the_module_raises_by_itself_is_passed_on() -> None:
    with pytest.raises(ZeroDivisionError):
        extras.load("fails", "extra_fails")
