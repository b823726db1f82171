"""Runs scripts with greenserve under eventlet's names, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

INSTALL = "from greenserve.compat.eventlet import install\ninstall()\n"

HAS_EVENTLET = importlib.util.find_spec("eventlet") is not None


def run_under_greenserve(
    script: str, *, install: bool = True, before: str = "", code: int = 0, **environment: str
) -> str:
    """Run ``before`` and ``script``, and return what they printed, or what went to stderr unless ``code`` is 0."""
    done = subprocess.run(
        [sys.executable, "-c", (INSTALL if install else "") + before + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    assert code or not done.stderr, done.stderr
    return done.stdout if not code else done.stderr
