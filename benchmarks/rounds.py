"""Measuring servers in turn, round after round: the arguments, the turns, what is told at the end. Asks nothing."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from benchmarks import machine
from benchmarks.errors import BenchmarkError
from benchmarks.servers import Server

__all__ = ["Row", "add_arguments", "choose_named", "finish", "noting_failure", "take_turns"]


@dataclass
class Row:
    """What the rounds of one case measured of one server.

    Attributes:
        failure: Why there is nothing, or nothing more.
    """

    case: str
    server: str
    failure: str | None = field(default=None, kw_only=True)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `take_turns` and `finish` are about, and the one for ``benchmarks.servers.choose``."""
    parser.add_argument("--servers", metavar="A,B", help="only these (default: all that are installed)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, interleaved (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="also store the result")


def choose_named(kind: str, names: str, known: Sequence[N]) -> list[N]:
    """Return those of ``known`` that ``names`` lists, with commas between them.

    Raises:
        BenchmarkError: No such thing, which is called ``kind`` in the message.
    """
    by_name = {each.name: each for each in known}
    try:
        return [by_name[name.strip()] for name in names.split(",")]
    except KeyError as exc:
        raise BenchmarkError(f"no {kind} is called {exc}; there are {', '.join(by_name)}") from None


def take_turns(servers: Sequence[Server], rounds: int) -> Iterator[Server]:
    """Yield every server once a round."""
    for number in range(rounds):
        # Another one begins each round, so that nobody is always the first on a cool machine.
        start = number % len(servers)
        yield from servers[start:]
        yield from servers[:start]
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)


@contextmanager
def noting_failure(row: Row) -> Iterator[None]:
    """Let the others be measured if this one can't be."""
    try:
        yield
    except (BenchmarkError, OSError) as exc:
        row.failure = str(exc)


def finish(
    options: argparse.Namespace,
    benchmark: str,
    settings: dict[str, Any],
    versions: dict[str, str],
    rows: Sequence[Row],
) -> int:
    """Store the result if that is wanted, tell what failed, and return the exit code: 1 if anything did, else 0."""
    if options.json:
        machine.write_json(options.json, benchmark, settings, versions, [dataclasses.asdict(row) for row in rows])
    failures = [row for row in rows if row.failure]
    for row in failures:
        print(f"failed: {row.server}, {row.case}: {row.failure}", file=sys.stderr)
    return 1 if failures else 0
