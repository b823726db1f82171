"""The machine under the figures: what it is, which cores a benchmark uses, how many files it may open.

Knows nothing of servers or measurements.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["LOAD_CORE", "ROOT", "SERVER_CORE", "describe_machine", "raise_file_limit", "write_json"]

ROOT = Path(__file__).resolve().parent.parent

# With a single core both are the same one, and the figures other than CPU time say little.
_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one; the programs started from here inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on besides the code: processor, kernel, Python, and the commit of this checkout."""
    return {
        "processor": _processor(),
        "cores": len(_CORES),
        "server_core": SERVER_CORE,
        "load_core": LOAD_CORE,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "commit": _commit(),
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def write_json(
    path: str, benchmark: str, settings: dict[str, Any], versions: dict[str, str], results: list[Any]
) -> None:
    """Store one run of a benchmark, with the machine it ran on, in the file ``path``."""
    run = {
        "benchmark": benchmark,
        "machine": describe_machine(),
        "versions": versions,
        "settings": settings,
        "results": results,
    }
    Path(path).write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _commit() -> str:
    """Return the checkout's short commit, with ``-dirty`` where files differ from it, or "unknown" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
