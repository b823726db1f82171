"""Runs a script in a process of its own, since a patch lasts as long as its process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

PATCH = "from greenserve import monkey\nmonkey.patch_all()\n"


def run_script(script: str, *options: str, patch: bool = True, code: int = 0) -> str:
    """Run ``script``, patched in its first line, and return what it printed. It must end with ``code`` and say no more.


    Args:
        script: Python, indented as a whole.
        options: The interpreter's own, such as ``-X dev``.
        patch: False: the script patches by itself.
        code: The exit status.
    """
    done = subprocess.run(
        [sys.executable, *options, "-c", (PATCH if patch else "") + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout
