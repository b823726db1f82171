"""CPython's own tests on one interpreter or several: what passes without the patch passes under it."""

from __future__ import annotations

import argparse
import sys

from tests.patched.cpython import add_arguments as add_comparison_arguments
from tests.patched.cpython import compare_modules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python", action="append", help="an interpreter that has greenlet; again for another (default: this one)"
    )
    add_comparison_arguments(parser)


def run(arguments: argparse.Namespace) -> dict[str, str]:
    figures = {}
    for python in arguments.python or [sys.executable]:
        comparison = compare_modules(python, arguments)
        assert comparison.is_good, (str(comparison), comparison.unexplained)
        figures[f"Python {comparison.version}, tests that pass under the patch, of those that pass without it"] = str(
            comparison
        )
    return figures
