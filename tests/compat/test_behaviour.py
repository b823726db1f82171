"""What eventlet's names do, held to what eventlet does: ``printed.json`` has what `programs` print under eventlet.

``python -m tests.compat.test_behaviour`` writes it anew, where eventlet is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compat.peers import HAS_EVENTLET, INSTALL, ROOT
from tests.compat.programs import ALONE, PROGRAMS

RECORD = Path(__file__).parent / "printed.json"
SOURCE = Path(__file__).parent / "programs.py"
TOGETHER = tuple(name for name in PROGRAMS if name not in ALONE)

FUTURE = "from __future__ import annotations\n"


def run_programs(names: Sequence[str], before: str) -> dict[str, list[str]]:
    """Return the lines that each program prints, all run in one process that begins with ``before``."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SOURCE.read_text().replace(FUTURE, before, 1)],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EVENTLET_TESTS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, list[str]] = json.loads(done.stdout)
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
