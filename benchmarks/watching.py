"""What does it cost a request that figures of it are kept?

One server of ours is watched, and then not, and is asked for a second each time: whatever else the machine does falls
on both, and both are the same process, since two of the same program differ by more than what is measured. The figure
is the median of the ratios of neighbours, in CPU time.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from dataclasses import dataclass, field

from benchmarks import machine, wrk
from benchmarks.processes import cpu_seconds
from benchmarks.rawhttp import minimal_request
from benchmarks.reports import format_spread, format_table, median
from benchmarks.servers import OURS, Server, versions_of
from benchmarks.serving import RunningServer, serving

__all__ = ["Figures", "add_arguments", "format_figures", "run"]

WATCHED = Server("watched", "greenserve_watched", ("greenserve",), green=True)

# A watched request may cost so many times an unwatched one.
BAR = 1.03


@dataclass
class Figures:
    """CPU time for each request in microseconds, in each round: without and with figures being kept."""

    plain: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [watched / plain for plain, watched in zip(self.plain, self.watched)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=1, help="load on each server and round (default: 1)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured, in turn (default: 15)")
    parser.add_argument("--json", metavar="FILE", help="also store the result")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, and return 0."""
    figures = Figures()
    with serving(WATCHED, "hello") as server:
        _measure(server, 1)
        for number in range(options.rounds):
            # On, off, then off, on: it is turned between the two of a round, and stays as it is between two rounds.
            first, second = (figures.plain, figures.watched) if number % 2 else (figures.watched, figures.plain)
            first.append(_measure(server, options.seconds))
            server.process.send_signal(signal.SIGUSR1)
            second.append(_measure(server, options.seconds))
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    print(format_figures(figures))
    if options.json:
        settings = {"seconds": options.seconds, "rounds": options.rounds, "connections": wrk.CONNECTIONS}
        versions = {**versions_of([OURS]), "wrk": wrk.wrk_version()}
        machine.write_json(options.json, "watching", settings, versions, [dataclasses.asdict(figures)])
    return 0


def format_figures(figures: Figures) -> str:
    """Return the table."""
    rows = [
        ["not watched", format_spread(figures.plain, 2), "-"],
        ["watched", format_spread(figures.watched, 2), f"{median(figures.ratios) or 0:.3f}"],
    ]
    return format_table(["", "CPU µs per request", f"÷ not watched (at most {BAR})"], rows)


def _measure(server: RunningServer, seconds: int) -> float:
    pids = server.pids()
    before = cpu_seconds(pids)
    load = wrk.run_wrk(server.port, minimal_request(server.port), seconds)
    return (cpu_seconds(pids) - before) / load.requests * 1e6
