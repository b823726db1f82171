"""``python -m greenserve.monkey SCRIPT [ARGS]``, or ``-m MODULE [ARGS]``: run a program, patched from the start."""

from __future__ import annotations

import os
import runpy
import sys

from greenserve import monkey

_USAGE = "usage: python -m greenserve.monkey SCRIPT [ARGS]\n       python -m greenserve.monkey -m MODULE [ARGS]\n"


def main(argv: list[str]) -> None:
    """Patch everything, then run what ``argv`` says as Python itself would run it."""
    if not argv or argv[0] in {"-h", "--help"} or (argv[0] == "-m" and len(argv) < 2):
        stream = sys.stdout if argv[:1] in (["-h"], ["--help"]) else sys.stderr
        stream.write(_USAGE)
        raise SystemExit(0 if stream is sys.stdout else 2)
    monkey.patch_all()
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        # The current directory is where Python looks first for `-m`; a script's own directory takes its place.
        sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
        runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
