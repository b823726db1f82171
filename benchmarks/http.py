"""What does one small request cost a server, in CPU time, and how many does one core answer in a second?

Each server runs alone on one core, ``wrk`` on another, with 64 keep-alive connections. CPU time per request, user and
system, is the figure to compare: it hardly depends on what else the machine does, while requests per second and p99
do. The floor is an epoll loop in Python with a canned reply.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks import rounds, wrk
from benchmarks.apps import hello
from benchmarks.errors import BenchmarkError
from benchmarks.processes import cpu_seconds
from benchmarks.rawhttp import browser_request, check_server, minimal_request
from benchmarks.reports import format_spread, format_table, median, ratio
from benchmarks.servers import OURS, Server, choose, versions_of
from benchmarks.serving import RunningServer, serving

__all__ = ["CASES", "add_arguments", "run"]

WARM_UP_SECONDS = 1


@dataclass(frozen=True)
class Case:
    """One kind of request to one app."""

    name: str
    title: str
    app: str
    request: Callable[[int], bytes]


CASES = (
    Case("hello", "hello, 1 field", "hello", minimal_request),
    Case("browser", "hello, 13 browser fields, the same each time", "hello", browser_request),
    Case(
        "changing",
        "hello, 13 browser fields, two change each time",
        "hello",
        lambda port: browser_request(port, changing=True),
    ),
    Case("flask", "Flask hello, 13 browser fields", "flask_hello", browser_request),
)


@dataclass
class Figures(rounds.Row):
    """Each list has one figure a round."""

    cpu_us: list[float] = field(default_factory=list)
    requests_per_second: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(case.name for case in CASES)
    rounds.add_arguments(parser)
    parser.add_argument("--cases", metavar="A,B", default=names, help=f"only these (default: {names})")
    parser.add_argument("--seconds", type=int, default=3, help="load on each server, case and round (default: 3)")


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, and return 1 if any server failed, else 0."""
    servers = choose(options.servers)
    cases = rounds.choose_named("case", options.cases, CASES)
    versions = {**versions_of(servers), "wrk": wrk.wrk_version()}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    figures = {(case.name, server.name): Figures(case.name, server.name) for case in cases for server in servers}
    for server in rounds.take_turns(servers, options.rounds):
        _measure_server(server, cases, options.seconds, figures)
    for case in cases:
        print(f"\n{case.title}\n\n{format_case([figures[case.name, server.name] for server in servers])}")
    settings = {"seconds": options.seconds, "rounds": options.rounds, "connections": wrk.CONNECTIONS}
    return rounds.finish(
        options, "http", settings, versions, [row for row in figures.values() if row.cpu_us or row.failure]
    )


def format_case(rows: Sequence[Figures]) -> str:
    """Return the table of one case, the cheapest server first; a failed one last, without figures."""
    ours = next((median(row.cpu_us) for row in rows if row.server == OURS.name and row.failure is None), None)
    lines = []
    for row in sorted(rows, key=_rank):
        if row.failure is not None:
            lines.append([row.server, "failed", "-", "-", "-"])
        elif row.cpu_us:
            spread, rate = format_spread(row.cpu_us), format_spread(row.requests_per_second, 0)
            lines.append([row.server, spread, rate, format_spread(row.p99_ms, 2), ratio(ours, median(row.cpu_us))])
    headings = ["server", "CPU µs per request", "requests/s", "p99 ms", f"{OURS.name} ÷ it"]
    return format_table(headings, lines)


def _rank(row: Figures) -> float:
    cpu_us = median(row.cpu_us)
    return float("inf") if cpu_us is None or row.failure else cpu_us


def _measure_server(
    server: Server, cases: Sequence[Case], seconds: int, figures: dict[tuple[str, str], Figures]
) -> None:
    """Measure the cases of one server, once; its process is new for each app."""
    for app in server.apps:
        pending = [case for case in cases if case.app == app and figures[case.name, server.name].failure is None]
        if not pending:
            continue
        case = pending[0]
        try:
            with serving(server, app) as running:
                for case in pending:
                    _measure_case(running, case, seconds, figures[case.name, server.name])
        except (BenchmarkError, OSError) as exc:
            figures[case.name, server.name].failure = str(exc)


def _measure_case(running: RunningServer, case: Case, seconds: int, row: Figures) -> None:
    request = case.request(running.port)
    check_server(running.port, request, hello.CONTENT_TYPE, hello.BODY)
    wrk.run_wrk(running.port, request, WARM_UP_SECONDS)
    # The same processes before and after: one that ends in between fails the measurement, as it would falsify it.
    pids = running.pids()
    before = cpu_seconds(pids)
    load = wrk.run_wrk(running.port, request, seconds)
    cpu = cpu_seconds(pids) - before
    row.cpu_us.append(cpu / load.requests * 1e6)
    row.requests_per_second.append(load.requests / load.seconds)
    row.p99_ms.append(load.p99_ms)
