"""Runs scripts with greenserve under eventlet's names, each in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

FUTURE = "from __future__ import annotations\n"
INSTALL = "from greenserve.compat.eventlet import install\ninstall()\n"

HAS_EVENTLET = importlib.util.find_spec("eventlet") is not None


def run_source(name: str, before: str, question: object) -> Any:
    """Run the module ``name`` beside this one, begun with ``before``: tell it the question, return its answer."""
    source = (Path(__file__).parent / name).read_text()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source.replace(FUTURE, before, 1)],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EVENTLET_TESTS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
