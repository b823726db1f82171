"""Scripts in a process of their own, for what belongs to a whole process: signals, forks, deadlocks, its end.

A script uses the selector that this process was told to use. It has 20 seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 20


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` with all of Python's own checks on, and say how that ended."""
    # Python leaves Ctrl-C alone in a process that was started with it ignored, as a shell's background jobs are.
    # On the line of the newline that scripts begin with, so that theirs keep their numbers.
    text = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + textwrap.dedent(script)
    if os.environ.get("GREENSERVE_SELECTOR") == "kqueue":
        text = "import tests.core.kqueue; " + text
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", text],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def output(script: str) -> list[str]:
    """Return the lines that ``script`` prints. It has to succeed, and say nothing on stderr."""
    done = run(script)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()
