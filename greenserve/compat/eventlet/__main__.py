"""``python -m greenserve.compat.eventlet SCRIPT [ARGS]``, or ``-m MODULE [ARGS]``: run a program for eventlet."""

from __future__ import annotations

import os
import runpy
import sys

from greenserve.compat.eventlet._install import inherit, install

_USAGE = (
    "usage: python -m greenserve.compat.eventlet [--inherit] SCRIPT [ARGS]\n"
    "       python -m greenserve.compat.eventlet [--inherit] -m MODULE [ARGS]\n"
    "\n"
    "Runs a program that was written for eventlet, with greenserve under eventlet's names.\n"
    "--inherit: the Python processes that it starts find greenserve there too.\n"
)


def main(argv: list[str]) -> None:
    """Install, then run what ``argv`` says as Python itself would run it."""
    if argv and argv[0] == "--inherit":
        inherit()
        argv = argv[1:]
    if not argv or argv[0] in {"-h", "--help"} or (argv[0] == "-m" and len(argv) < 2):
        stream = sys.stdout if argv[:1] in (["-h"], ["--help"]) else sys.stderr
        stream.write(_USAGE)
        raise SystemExit(0 if stream is sys.stdout else 2)
    install()
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
