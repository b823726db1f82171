"""Print every other CPython that the project supports and this machine has: one line each, ``VERSION PATH``.

Looks at pyenv's installs (pyenv's own shims need a version to be chosen, so they don't help) and at the ``python3.N``
on PATH. For each minor version the newest one; neither the running one's, nor pre-releases, nor free-threaded builds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 10)

# Run by each candidate. ensurepip is missing where a distribution packages venv apart.
PROBE = """
import ensurepip, sys, sysconfig, venv
v = sys.version_info
if sys.implementation.name != "cpython" or v.releaselevel != "final" or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
print(v.major, v.minor, v.micro)
"""


def candidates() -> list[Path]:
    roots = [os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv")]
    if pyenv := shutil.which("pyenv"):
        roots.append(subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False).stdout.strip())
    installed = [path for root in roots if root for path in Path(root, "versions").glob("*/bin/python")]
    named = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 30)]
    return [*installed, *(Path(path) for path in named if path)]


def probe(path: Path) -> tuple[int, ...] | None:
    """Return the version of a usable Python, or None."""
    try:
        ran = subprocess.run([path, "-I", "-c", PROBE], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    return tuple(map(int, ran.stdout.split())) if ran.returncode == 0 else None


def main() -> None:
    newest: dict[tuple[int, ...], tuple[tuple[int, ...], Path]] = {}
    for path in candidates():
        version = probe(path)
        if version and version[:2] >= OLDEST and version[:2] != sys.version_info[:2]:
            newest[version[:2]] = max(newest.get(version[:2], (version, path)), (version, path))
    for version, path in sorted(newest.values()):
        print(".".join(map(str, version)), path)


if __name__ == "__main__":
    main()
