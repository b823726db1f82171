"""All of the core's tests once more on each other selector, in a process of its own.

kqueue is contract-tested: `tests.core.kqueue` stands in for it where the system has none.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.core.poller import BACKENDS

HERE = Path(__file__)
CHOSEN = os.environ.get("GREENSERVE_SELECTOR") or next(iter(BACKENDS))


@pytest.mark.timeout(180)
@pytest.mark.skipif("GREENSERVE_SELECTOR" in os.environ, reason="one selector was chosen for all tests")
@pytest.mark.parametrize("name", [name for name in ("epoll", "kqueue", "poll", "select") if name != CHOSEN])
def test_the_core_passes_its_tests_on(name: str) -> None:
    if name not in BACKENDS and name != "kqueue":
        pytest.skip(f"this system has no {name}")
    plugin = ["-p", "tests.core.kqueue"] if name == "kqueue" else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "-q", "-n", "0", "-p", "no:cacheprovider", "-x", str(HERE.parent)],
        cwd=HERE.parent.parent.parent,
        env={**os.environ, "GREENSERVE_SELECTOR": name},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
    assert " passed" in done.stdout.splitlines()[-1]
