"""The long tests' runner, and the long tests themselves at a scale that isn't long."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.long.__main__ import JOBS, main, replace_section


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert [name for name in JOBS if name not in listed] == []


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("# Page\n", "# Page\n\n## b\nnew\n"),
        ("# Page\n\n## b\nold\n", "# Page\n\n## b\nnew\n"),
        ("# Page\n\n## b\nold\n\n## c\nkept\n", "# Page\n\n## b\nnew\n\n## c\nkept\n"),
        ("# Page\n\n## bb\nkept\n", "# Page\n\n## bb\nkept\n\n## b\nnew\n"),
    ],
)
def test_a_section_replaces_the_last_of_its_name(page: str, expected: str) -> None:
    assert replace_section(page, "b", "## b\nnew\n") == expected


def test_bodies_arrive_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bodies", "--bytes", "3000000"]) == 0
    assert "| download, from a file |" in capsys.readouterr().out


def test_memory_stays_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["memory", "--requests", "20000", "--connections", "1000", "--spawned", "2000"]) == 0
    shown = capsys.readouterr().out
    assert "| requests | 20,000 at" in shown
    assert "| connections | 1,000," in shown


@pytest.mark.skipif(importlib.util.find_spec("test.test_epoll") is None, reason="this Python comes without its tests")
def test_cpythons_tests_are_counted_for_each_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cpython", "--keep", str(tmp_path), "test_epoll", "test_of_no_python"]) == 0
    shown = capsys.readouterr().out
    version = "{}.{}".format(*sys.version_info[:2])
    line = re.search(
        rf"\| Python {version}, tests that .* \| (\d+) of (\d+) \(100\.00%\), 0 hang; modules: 1 \|", shown
    )
    assert line is not None
    assert line[1] == line[2] != "0"


PROPERTY = """
from hypothesis import given, strategies

@given(strategies.integers())
def test_property(number):
    assert number * 0 == {result}

def test_without_examples():
    assert False
"""


def test_fuzzing_counts_the_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_made_up.py").write_text(PROPERTY.format(result=0))
    assert main(["fuzz", "--minutes", "0", str(tmp_path)]) == 0
    assert "| examples, all of them passed | 100 |" in capsys.readouterr().out


def test_fuzzing_ends_with_the_seed_of_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(PROPERTY.format(result=1))
    with pytest.raises(SystemExit, match="failed with seed"):
        main(["fuzz", "--minutes", "0", str(tmp_path)])


def test_autobahn_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="no wstest on PATH"):
        main(["autobahn"])
