"""What every server program does first: read its arguments, and log warnings to stderr, the level first."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from benchmarks.apps import APPS

__all__ = ["BACKLOG", "run"]

BACKLOG = 2048


def run(serve: Callable[[str, int, str], object]) -> None:
    """Call ``serve(host, port, app)`` with the program's arguments; it returns when the server has stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("app", choices=APPS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(options.host, options.port, options.app)
