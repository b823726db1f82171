"""Drives ``wrk``, the load generator: 64 keep-alive connections from one thread on the load core.

Facts: wrk counts a status above 399 as an error; ``-d`` takes whole seconds; a script's ``done`` may print what it
likes after wrk's own text.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.machine import LOAD_CORE
from benchmarks.processes import run_pinned

__all__ = ["CONNECTIONS", "WrkRun", "parse_output", "run_wrk", "wrk_version"]

CONNECTIONS = 64

_SCRIPT = Path(__file__).with_suffix(".lua")


@dataclass(frozen=True)
class WrkRun:
    """One run without any error."""

    seconds: float
    requests: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def run_wrk(port: int, request: bytes, seconds: int) -> WrkRun:
    """Send ``request`` over and over for ``seconds`` and return what wrk saw.

    Raises:
        BenchmarkError: wrk is not there or failed, or any request failed.
    """
    command = [
        *(_wrk(), "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"),
        *("--script", str(_SCRIPT), f"http://127.0.0.1:{port}/", "--", request.decode("latin-1")),
    ]
    return parse_output(run_pinned(command, LOAD_CORE, timeout=seconds + 15))


def parse_output(output: str) -> WrkRun:
    """Read the line that the script prints last.

    Raises:
        BenchmarkError: There is none, nothing was answered, or a socket or a status failed.
    """
    last = output.rstrip().rpartition("\n")[2]
    try:
        figures = json.loads(last)
    except ValueError:
        raise BenchmarkError(f"wrk failed: {output.strip()[-500:]}") from None
    errors = {
        name: figures.pop(name)
        for name in ("connect_errors", "read_errors", "write_errors", "timeouts", "error_statuses")
    }
    if any(errors.values()):
        raise BenchmarkError("wrk met " + ", ".join(f"{name}: {count}" for name, count in errors.items() if count))
    if not figures["requests"]:
        raise BenchmarkError("wrk got no answer")
    return WrkRun(**figures)


def wrk_version() -> str:
    """Return the version of wrk as it names it, such as ``4.2.0`` or ``debian/4.1.0-3+b2``."""
    # It prints its version before its usage, and exits 1.
    output = subprocess.run([_wrk(), "--version"], capture_output=True, text=True, check=False).stdout
    return output.split()[1]


def _wrk() -> str:
    path = shutil.which("wrk")
    if path is None:
        raise BenchmarkError("wrk is not installed; Debian and Ubuntu have it as the package wrk, Homebrew as wrk")
    return path
