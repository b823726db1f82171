"""What does a WebSocket message cost, what does a connection hold, and how soon has a message gone to thousands?

Each server runs alone on one core, a client in one epoll loop on another. Every connection has one message under way.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import rounds
from benchmarks.errors import BenchmarkError
from benchmarks.processes import LoadProgram, cpu_seconds
from benchmarks.reports import format_spread, format_table, median, ratio
from benchmarks.servers import Server, choose, versions_of
from benchmarks.serving import serving

__all__ = ["SERVERS", "SIZES", "add_arguments", "run"]

OURS = Server("greenserve", "websockets.greenserve", ("greenserve", "websockets"))
SERVERS = (
    OURS,
    Server("gevent-websocket", "websockets.gevent", ("gevent-websocket", "gevent")),
    Server("eventlet", "websockets.eventlet", ("eventlet",)),
)
SIZES = (32, 1024, 65536)  # bytes of a message

# Those that agree to compress.
DEFLATING = ("greenserve", "eventlet")

START_TIMEOUT = 90.0
HELD_SIZE = 200  # bytes of the one message that each held connection has had


@dataclass
class Figures(rounds.Row):
    """Each list has one figure a round."""

    per_second: list[float] = field(default_factory=list)  # messages
    cpu_us: list[float] = field(default_factory=list)  # for each message
    resident_kb: list[float] = field(default_factory=list)  # of a held connection
    private_kb: list[float] = field(default_factory=list)
    to_all_ms: list[float] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    rounds.add_arguments(parser)
    parser.add_argument("--connections", type=int, default=100, help="that send messages (default: 100)")
    parser.add_argument("--held", type=int, default=5000, help="connections that are held (default: 5,000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of messages for each size (default: 3)")


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, and return 1 if any server failed, else 0."""
    servers = choose(options.servers, SERVERS)
    versions = versions_of(servers)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    cases = [*(f"{size} bytes" for size in SIZES), "held", "held, compressed"]
    figures = {(case, server.name): Figures(case, server.name) for case in cases for server in servers}
    for server in rounds.take_turns(servers, options.rounds):
        for size in SIZES:
            row = figures[f"{size} bytes", server.name]
            if row.failure is None:
                with rounds.noting_failure(row):
                    _measure_echo(server, size, options, row)
        for case, app in (("held", "echo"), ("held, compressed", "deflated")):
            row = figures[case, server.name]
            if row.failure is None and (app == "echo" or server.name in DEFLATING):
                with rounds.noting_failure(row):
                    _measure_held(server, app, options.held, row)
    for case in cases:
        rows = [figures[case, server.name] for server in servers]
        print(f"\n{case}\n\n{format_held(rows) if case.startswith('held') else format_echo(rows)}")
    settings = {"connections": options.connections, "held": options.held, "seconds": options.seconds}
    return rounds.finish(options, "websocket", settings, versions, list(figures.values()))


def format_echo(rows: Sequence[Figures]) -> str:
    """Return the table of one size; a failed server without figures."""
    ours = next((median(row.per_second) for row in rows if row.server == OURS.name), None)
    lines = []
    for row in rows:
        if row.failure is not None:
            lines.append([row.server, "failed", "-", "-"])
        elif row.per_second:
            rate = ratio(ours, median(row.per_second))
            lines.append([row.server, format_spread(row.per_second, 0), rate, format_spread(row.cpu_us)])
    return format_table(["server", "messages/s", f"{OURS.name} ÷ it", "CPU µs per message"], lines)


def format_held(rows: Sequence[Figures]) -> str:
    """Return the table of what connections hold; a failed server without figures."""
    lines = []
    for row in rows:
        if row.failure is not None:
            lines.append([row.server, "failed", "-", "-"])
        elif row.private_kb:
            figures = (row.private_kb, row.resident_kb)
            lines.append([row.server, *(format_spread(each) for each in figures), format_spread(row.to_all_ms, 0)])
    return format_table(["server", "private KB each", "resident KB each", "a message to all, ms"], lines)


def _measure_echo(server: Server, size: int, options: argparse.Namespace, row: Figures) -> None:
    arguments = (options.connections, size, options.seconds)
    with (
        serving(server, "echo") as running,
        LoadProgram("benchmarks.clients.websockets", running.port, "echo", *arguments) as load,
    ):
        load.wait_report(START_TIMEOUT)
        # The same processes before and after: one that ends in between fails the measurement, as it would falsify it.
        pids = running.pids()
        before = cpu_seconds(pids)
        load.tell("go")
        report = load.wait_report(START_TIMEOUT)
        cpu = cpu_seconds(pids) - before
    if not report["messages"]:
        raise BenchmarkError("not one message came back")
    row.per_second.append(report["messages"] / report["seconds"])
    row.cpu_us.append(cpu / report["messages"] * 1e6)


def _measure_held(server: Server, app: str, count: int, row: Figures) -> None:
    more = ("--deflate",) if app == "deflated" else ()
    with serving(server, app) as running:
        # What the first connections load and cache is no part of what one more takes.
        with LoadProgram("benchmarks.clients.websockets", running.port, "hold", 100, HELD_SIZE, 0, *more) as load:
            load.wait_report(START_TIMEOUT)
        before = running.memory()
        with LoadProgram("benchmarks.clients.websockets", running.port, "hold", count, HELD_SIZE, 0, *more) as load:
            load.wait_report(START_TIMEOUT)
            after = running.memory()
            load.tell("go")
            seconds = load.wait_report(START_TIMEOUT)["seconds"]
    row.private_kb.append((after.private - before.private) / count / 1024)
    row.resident_kb.append((after.resident - before.resident) / count / 1024)
    row.to_all_ms.append(seconds * 1000)
