"""What eventlet's names do, held to what eventlet does: ``printed.json`` has what `programs` print under eventlet.

``python -m tests.compat.test_behaviour`` writes it anew, where eventlet is installed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compat.peers import FUTURE, HAS_EVENTLET, INSTALL, run_source
from tests.compat.programs import ALONE, PROGRAMS

RECORD = Path(__file__).parent / "printed.json"
TOGETHER = tuple(name for name in PROGRAMS if name not in ALONE)


def run_programs(names: Sequence[str], before: str) -> dict[str, list[str]]:
    """Return the lines that each program prints, all run in one process that begins with ``before``."""
    printed: dict[str, list[str]] = run_source("programs.py", before, names)
    return printed


@pytest.fixture(scope="module")
def ours() -> dict[str, list[str]]:
    return run_programs(TOGETHER, INSTALL)


@pytest.mark.parametrize("name", TOGETHER)
def test_a_program_prints_what_it_prints_under_eventlet(name: str, ours: dict[str, list[str]]) -> None:
    assert ours[name] == json.loads(RECORD.read_text())[name]


@pytest.mark.parametrize("name", ALONE)
def test_a_program_that_patches_prints_what_it_prints_under_eventlet(name: str) -> None:
    assert run_programs([name], INSTALL)[name] == json.loads(RECORD.read_text())[name]


def test_every_program_is_in_the_record() -> None:
    assert set(json.loads(RECORD.read_text())) == set(PROGRAMS)


@pytest.mark.system
@pytest.mark.skipif(not HAS_EVENTLET, reason="runs eventlet itself, which is not installed")
def test_the_record_is_what_eventlet_prints() -> None:
    assert record() == json.loads(RECORD.read_text())


def record() -> dict[str, list[str]]:
    return {name: run_programs([name], FUTURE)[name] for name in PROGRAMS}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(), indent=2) + "\n")
