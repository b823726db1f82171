"""``python -m greenserve.compat.eventlet SCRIPT [ARGS]``, or ``-m MODULE [ARGS]``: run a program for eventlet."""

from __future__ import annotations

import sys

from greenserve.compat.eventlet._install import inherit, install
from greenserve.monkey._program import run_program

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
    run_program(argv, _USAGE, install)


if __name__ == "__main__":
    main(sys.argv[1:])
