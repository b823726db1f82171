"""What does an idle connection cost, and what do thousands of them cost those who do say something?

For each server that holds a connection in a green thread: the memory of a keep-alive connection that has had one
answer, from the difference that thousands of them make; the time of an ordinary request while they are held, and the
CPU time that they take by just being there; and how long thousands of requests take that each sleep a second, all at
once.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks import machine
from benchmarks.errors import BenchmarkError
from benchmarks.ordinary import Ordinary, OrdinaryUser
from benchmarks.processes import LoadProgram
from benchmarks.reports import format_table, percentile
from benchmarks.servers import GREEN_SERVERS, Server, choose, versions_of
from benchmarks.serving import RunningServer, serving

__all__ = ["add_arguments", "run"]

SETTLE_SECONDS = 1.0
IDLE_SECONDS = 2.0
PROBE_SECONDS = 3.0
REPORT_TIMEOUT = 90.0


@dataclass(frozen=True)
class Figures:
    """What was measured of one server."""

    server: str
    resident_kb: float
    private_kb: float
    idle_cpu_percent: float
    kept_p50_ms: float
    kept_p99_ms: float
    new_p50_ms: float
    new_p99_ms: float
    sleepers_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--servers", metavar="A,B", help="only these (default: all that are installed)")
    parser.add_argument("--count", type=int, default=10_000, help="idle connections (default: 10,000)")
    parser.add_argument("--sleepers", type=int, default=5_000, help="requests that sleep at once (default: 5,000)")
    parser.add_argument("--json", metavar="FILE", help="also store the result")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, and return 1 if a server could not be measured, else 0."""
    servers = choose(options.servers, GREEN_SERVERS)
    versions = versions_of(servers)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    figures: list[Figures] = []
    failures: list[str] = []
    for server in servers:
        try:
            figures.append(_measure_server(server, options.count, options.sleepers))
        except (BenchmarkError, OSError) as exc:
            failures.append(f"{server.name}: {exc}")
        print(f"{server.name} done", file=sys.stderr)
    print(f"\n{options.count:,} idle connections; {options.sleepers:,} requests that sleep a second\n")
    print(format_figures(figures))
    if options.json:
        settings = {"count": options.count, "sleepers": options.sleepers}
        machine.write_json(options.json, "connections", settings, versions, [asdict(row) for row in figures])
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def format_figures(figures: list[Figures]) -> str:
    """Return the table, one column a server."""
    rows = [
        ["resident memory of a connection, KB", *(f"{row.resident_kb:.1f}" for row in figures)],
        ["private and dirty memory of it, KB", *(f"{row.private_kb:.1f}" for row in figures)],
        ["CPU while all are idle, %", *(f"{row.idle_cpu_percent:.1f}" for row in figures)],
        ["request on a kept connection, p50 ms", *(f"{row.kept_p50_ms:.2f}" for row in figures)],
        ["request on a kept connection, p99 ms", *(f"{row.kept_p99_ms:.2f}" for row in figures)],
        ["request on a new connection, p50 ms", *(f"{row.new_p50_ms:.2f}" for row in figures)],
        ["request on a new connection, p99 ms", *(f"{row.new_p99_ms:.2f}" for row in figures)],
        ["all that sleep answered after, s", *(f"{row.sleepers_seconds:.2f}" for row in figures)],
    ]
    return format_table(["", *(row.server for row in figures)], rows)


def _measure_server(server: Server, count: int, sleepers: int) -> Figures:
    with serving(server, "routes") as running:
        # What the first connections load and cache is no part of what one more takes.
        _hold_and_release(running, 200)
        before = running.memory()
        with LoadProgram("benchmarks.clients.hold", running.port, count) as hold:
            hold.wait_report(REPORT_TIMEOUT)
            time.sleep(SETTLE_SECONDS)
            after = running.memory()
            idle_cpu_percent = running.cpu_percent(IDLE_SECONDS)
            ordinary = _measure_ordinary(running.port)
            hold.tell("end")
            hold.wait_report(REPORT_TIMEOUT)
    # A new process: how memory was left by the connections is of no concern here.
    with (
        serving(server, "routes") as running,
        LoadProgram("benchmarks.clients.sleepers", running.port, sleepers) as load,
    ):
        sleepers_seconds = load.wait_report(REPORT_TIMEOUT)["seconds"]
    return Figures(
        server.name,
        resident_kb=(after.resident - before.resident) / count / 1024,
        private_kb=(after.private - before.private) / count / 1024,
        idle_cpu_percent=idle_cpu_percent,
        kept_p50_ms=percentile(ordinary.kept_ms, 50),
        kept_p99_ms=percentile(ordinary.kept_ms, 99),
        new_p50_ms=percentile(ordinary.new_ms, 50),
        new_p99_ms=percentile(ordinary.new_ms, 99),
        sleepers_seconds=sleepers_seconds,
    )


def _hold_and_release(running: RunningServer, count: int) -> None:
    with LoadProgram("benchmarks.clients.hold", running.port, count) as hold:
        hold.wait_report(REPORT_TIMEOUT)
        hold.tell("end")
        hold.wait_report(REPORT_TIMEOUT)


def _measure_ordinary(port: int) -> Ordinary:
    with OrdinaryUser(port) as user:
        user.start()
        time.sleep(PROBE_SECONDS)
        ordinary = user.stop()
    if ordinary.failed:
        raise BenchmarkError(f"{ordinary.failed} ordinary requests failed beside idle connections")
    return ordinary
