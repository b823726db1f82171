"""What every server program does first: read its arguments, and log warnings to stderr, the level first."""

from __future__ import annotations

import argparse
import logging
import resource
from collections.abc import Callable

from benchmarks.apps import APPS

__all__ = ["BACKLOG", "most_connections", "run"]

BACKLOG = 2048


def most_connections() -> int:
    """Return for how many connections the limit of open files has room, beside what the server and the app open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100


def run(serve: Callable[[str, int, str], object]) -> None:
    """Call ``serve(host, port, app)`` with the program's arguments; it returns when the server has stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("app", choices=APPS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(options.host, options.port, options.app)
