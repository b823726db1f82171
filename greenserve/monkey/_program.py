"""Running a program as Python itself would, in a process to which something was done first. Knows not what that is."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable

__all__ = ["run_program"]


def run_program(argv: list[str], usage: str, prepare: Callable[[], object]) -> None:
    """Call ``prepare()``, then run the program that ``argv`` names: ``SCRIPT [ARGS]`` or ``-m MODULE [ARGS]``.

    Raises:
        SystemExit: ``argv`` asks for help, and ``usage`` is printed; or names no program, and it is an error.
    """
    if not argv or argv[0] in {"-h", "--help"} or (argv[0] == "-m" and len(argv) < 2):
        stream = sys.stdout if argv[:1] in (["-h"], ["--help"]) else sys.stderr
        stream.write(usage)
        raise SystemExit(0 if stream is sys.stdout else 2)
    prepare()
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = argv
        # The current directory is where Python looks first for `-m`; a script's own directory takes its place.
        sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
        runpy.run_path(argv[0], run_name="__main__")
