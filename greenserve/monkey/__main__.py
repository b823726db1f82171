"""``python -m greenserve.monkey SCRIPT [ARGS]``, or ``-m MODULE [ARGS]``: run a program, patched from the start."""

from __future__ import annotations

import sys

from greenserve import monkey
from greenserve.monkey._program import run_program

_USAGE = "usage: python -m greenserve.monkey SCRIPT [ARGS]\n       python -m greenserve.monkey -m MODULE [ARGS]\n"

if __name__ == "__main__":
    run_program(sys.argv[1:], _USAGE, monkey.patch_all)
