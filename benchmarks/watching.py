"""What does it cost a request that figures of it are kept?

One server of ours counts its requests for a moment, and then not, and so on, while one load goes on: whatever else the
machine does falls on both, and both are the same process, since two of the same program differ by more than what is
measured. The figure is the median of the ratios of neighbours, in CPU time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import urllib.request
from dataclasses import dataclass, field

from benchmarks import machine, wrk
from benchmarks.rawhttp import minimal_request
from benchmarks.reports import format_spread, format_table, median
from benchmarks.servers import OURS, Server, versions_of
from benchmarks.serving import serving

__all__ = ["Figures", "add_arguments", "format_figures", "run"]

WATCHED = Server("watched", "greenserve_watched", ("greenserve",), green=True)

# A watched request may cost so many times an unwatched one.
BAR = 1.03


@dataclass
class Figures:
    """CPU time for each request in microseconds, in neighbouring turns: without and with figures being kept."""

    plain: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        return [watched / plain for plain, watched in zip(self.plain, self.watched)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=int, default=60, help="how long the load goes on (default: 60)")
    parser.add_argument("--json", metavar="FILE", help="also store the result")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, and return 0."""
    with serving(WATCHED, "hello") as server:
        wrk.run_wrk(server.port, minimal_request(server.port), options.seconds)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/turns", timeout=10) as response:
            turns = json.load(response)
    figures = Figures()
    for plain, watched in zip(*turns):
        if plain and watched:
            figures.plain.append(plain)
            figures.watched.append(watched)
    print(format_figures(figures))
    if options.json:
        settings = {"seconds": options.seconds, "connections": wrk.CONNECTIONS}
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
