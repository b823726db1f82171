"""What every server program does first: read its arguments, and log warnings to stderr, the level first."""

from __future__ import annotations

import argparse
import logging
import resource
from collections.abc import Callable, Sequence

from benchmarks.apps import APPS

__all__ = ["BACKLOG", "most_connections", "run", "run_with_tls"]

BACKLOG = 2048


def most_connections() -> int:
    """Return for how many connections the limit of open files has room, beside what the server and the app open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100


def run(serve: Callable[[str, int, str], object], apps: Sequence[str] = APPS) -> None:
    """Call ``serve(host, port, app)`` with the program's arguments; it returns when the server has stopped."""
    options = _begin(_parser(apps))
    serve(options.host, options.port, options.app)


def run_with_tls(serve: Callable[[str, int, str, str | None], object]) -> None:
    """As `run`, with a fourth argument: a PEM file with key and certificate if the server is to speak TLS, or None."""
    parser = _parser(APPS)
    parser.add_argument("--certfile")
    options = _begin(parser)
    serve(options.host, options.port, options.app, options.certfile)


def _parser(apps: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("app", choices=apps)
    return parser


def _begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return options
