"""The core's tests once more on each other selector, in a process of its own. Timers and locals know no selector.

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
INDEPENDENT = [f"--ignore={HERE.with_name(name)}" for name in ("test_timers.py", "test_locals.py", HERE.name)]
CHOSEN = os.environ.get("GREENSERVE_SELECTOR") or next(iter(BACKENDS))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for name in ("epoll", "kqueue", "poll", "select") if name != CHOSEN])
def test_the_core_passes_its_tests_on(name: str) -> None:
    if name not in BACKENDS and name != "kqueue":
        pytest.skip(f"this system has no {name}")
    plugin = ["-p", "tests.core.kqueue"] if name == "kqueue" else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *INDEPENDENT, "-qx", "-n0", "-pno:cacheprovider", str(HERE.parent)],
        cwd=HERE.parent.parent.parent,
        env={**os.environ, "GREENSERVE_SELECTOR": name},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:]
    assert " passed" in done.stdout.splitlines()[-1]
