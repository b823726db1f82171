"""What the system says about memory: how much this process uses, and whether it killed one for want of it.

Source: proc(5) on ``statm``; cgroups(7), and the kernel's documentation of ``memory.events`` and
``memory.oom_control``.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

__all__ = ["count_oom_kills", "resident_bytes"]

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()
_ROOT = Path("/")


def resident_bytes() -> int:
    """Return how much memory this process uses, in bytes, as `ps` shows it under RSS.

    The most that it ever used, where the system tells nothing else.
    """
    try:
        return int(_STATM.read_bytes().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def count_oom_kills(root: Path = _ROOT) -> int | None:
    """Return how many processes of this control group the kernel has killed for memory; None if it does not tell.

    ``root`` is where the file system begins.
    """
    for file in _oom_files(root):
        try:
            match = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        if match:
            return int(match[1])
    return None


def _oom_files(root: Path) -> list[Path]:
    mount = root / "sys/fs/cgroup"
    # In a container the group that /proc names may be mounted as the root of what is seen.
    files = [mount / "memory.events", mount / "memory/memory.oom_control"]
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files.insert(0, mount / path.strip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            files.insert(0, mount / "memory" / path.strip("/") / "memory.oom_control")
    return files
