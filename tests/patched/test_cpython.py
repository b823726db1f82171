"""How the runs of CPython's own tests are compared; and, with `-m system`, some of these runs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.patched.cpython import MODULES, compare, run_module
from tests.patched.differences import DIFFERENCES

# Quick ones, for each part of the patch.
QUICK = [
    "test_epoll",
    "test_os",
    "test_poll",
    "test_select",
    "test_socketserver",
    "test_thread",
    "test_threading_local",
]


@pytest.mark.parametrize(
    ("plain", "patched", "differences"),
    [
        ({"a": "ok"}, {"a": "ok"}, []),
        ({"a": "ok"}, {"a": "fail"}, ["a: fail"]),
        ({"a": "ok"}, {"a": "skip"}, []),
        ({"a": "ok"}, {"a": "hang"}, ["a: hang"]),
        ({"a": "ok"}, {}, ["a: missing"]),
        ({"a": "fail"}, {"a": "error"}, []),
        ({"a": "fail"}, {"a": "ok"}, []),
    ],
)
def test_what_passes_only_without_the_patch_is_a_difference(
    plain: dict[str, str], patched: dict[str, str], differences: list[str]
) -> None:
    assert compare(plain, patched)[0] == differences


def test_each_reason_is_for_a_module_that_is_run() -> None:
    assert {name.split(".")[1] for name in DIFFERENCES} <= set(MODULES)


@pytest.mark.skipif(importlib.util.find_spec("test.test_os") is None, reason="this Python comes without its tests")
@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("module", QUICK)
def test_cpythons_tests_pass_under_the_patch_or_have_a_reason_not_to(module: str, tmp_path: Path) -> None:
    plain = run_module(sys.executable, module, False, tmp_path / "plain.log")
    patched = run_module(sys.executable, module, True, tmp_path / "patched.log")
    differences, count = compare(plain, patched)
    assert count > 0
    assert [line for line in differences if line.partition(":")[0] not in DIFFERENCES] == []
