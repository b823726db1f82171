"""What do ordinary users notice, and what does the server spend, while others do their worst?

In each scenario a server meets one kind of hostile load, on a fresh process, while an ordinary user makes a request
every 5 ms, on a kept and on a new connection in turn. The first scenario has no such load. After that the server must
still answer.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks import machine, rounds
from benchmarks.apps import hello
from benchmarks.errors import BenchmarkError
from benchmarks.ordinary import OrdinaryUser
from benchmarks.processes import LoadProgram
from benchmarks.rawhttp import check_server, minimal_request
from benchmarks.reports import format_spread, format_table, median, percentile, ratio
from benchmarks.servers import GREEN_SERVERS, OURS, Server, choose, versions_of
from benchmarks.serving import RunningServer, serving

__all__ = ["SCENARIOS", "add_arguments", "run"]

IDLE_SECONDS = 3.0
REPORT_TIMEOUT = 60.0
RECOVERY_TIMEOUT = 10.0

# A method, a coding or a version that the server does not know: RFC 9110 sections 15.6.2 and 15.6.6.
_DESERVED = frozenset({"501", "505"})


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    Attributes:
        name: For ``--scenarios``.
        title: For the table, with a place for the count.
        attack: Which of ``benchmarks.clients.attacks``; None for no load.
        count: How many connections it makes, at scale 1.
        holds: Whether the load stays until told. Then CPU is also measured while nothing but the load is left.
        files: The server's limit of open files; None for all that this machine allows.
        kinds: The connections that ordinary requests come on.
    """

    name: str
    title: str
    attack: str | None
    count: int = 0
    holds: bool = True
    files: int | None = None
    kinds: tuple[str, ...] = ("kept", "new")


SCENARIOS = (
    Scenario("quiet", "nothing else", None),
    Scenario("idle", "{:,} connections that say nothing", "idle", 5_000),
    Scenario("trickle", "{:,} connections that send a head a byte a second", "trickle", 500),
    Scenario("not-reading", "{:,} connections that do not read their 5 MB", "not_reading", 300),
    Scenario("mutated", "{:,} connections with mutated requests", "mutated", 5_000, holds=False),
    Scenario("resets", "{:,} connections reset in mid-request or mid-response", "resets", 2_000, holds=False),
    # Nobody can connect while the files are used up, so the ordinary user has connections from before.
    Scenario(
        "crowd", "{:,} connections to 256 files, requests on kept connections", "crowd", 400, files=256, kinds=("kept",)
    ),
)


@dataclass(frozen=True)
class Figures:
    """What one server showed in one scenario, once.

    Attributes:
        scenario: The scenario's name.
        server: The server's name.
        requests: How many ordinary requests were answered.
        failed: How many were not, within 5 s.
        p50_ms: Half of them took at most so long, from the moment each was due.
        p99_ms: The same for 99 of 100.
        max_ms: The longest.
        resident_mb: The server's resident memory with the load there, or at its end.
        idle_cpu_percent: Its CPU use while only the load was there; None where the load does not stay.
        errors_logged: Lines at level ERROR, and tracebacks, in its log.
        server_errors: Answers of 500 and above that the load got, save 501 and 505, which some of it deserves.
        recovery_seconds: When it answered a new connection, from the end of the load; None if not within 10 s.
    """

    scenario: str
    server: str
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    resident_mb: float
    idle_cpu_percent: float | None
    errors_logged: int
    server_errors: int
    recovery_seconds: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(scenario.name for scenario in SCENARIOS)
    rounds.add_arguments(parser)
    parser.add_argument("--scenarios", metavar="A,B", default=names, help=f"only these (default: {names})")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the connections, for quick runs (default: 1)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="ordinary requests beside a load that stays (default: 5)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure, print a table for each scenario, and return 1 if a server failed or did not recover, else 0."""
    servers = choose(options.servers, GREEN_SERVERS)
    scenarios = rounds.choose_named("scenario", options.scenarios, SCENARIOS)
    versions = versions_of(servers)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    results: list[Figures] = []
    failures: list[str] = []
    for scenario in scenarios:
        # With fewer connections than files there would be no crowd.
        count = scenario.count if scenario.files else max(int(scenario.count * options.scale), 1)
        rows = []
        for server in servers * options.rounds:
            try:
                rows.append(_measure(server, scenario, count, options.seconds))
            except (BenchmarkError, OSError) as exc:
                failures.append(f"{server.name}, {scenario.name}: {exc}")
        print(f"\n{scenario.title.format(count)}\n\n{format_scenario(rows)}", flush=True)
        results += rows
    if options.json:
        settings = {"scale": options.scale, "seconds": options.seconds, "rounds": options.rounds}
        machine.write_json(options.json, "hostile", settings, versions, [asdict(row) for row in results])
    failures += [
        f"{row.server}, {row.scenario}: it no longer answers" for row in results if row.recovery_seconds is None
    ]
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def format_scenario(rows: Sequence[Figures]) -> str:
    """Return the table of one scenario, one line a server, in the order they were measured."""
    by_server: dict[str, list[Figures]] = {}
    for row in rows:
        by_server.setdefault(row.server, []).append(row)
    ours = median([row.p99_ms for row in by_server.get(OURS.name, ())])
    lines = []
    for server, group in by_server.items():
        p99_ms = [row.p99_ms for row in group]
        lines.append(
            [
                server,
                format_spread([row.p50_ms for row in group], 2),
                format_spread(p99_ms, 2),
                format_spread([row.max_ms for row in group]),
                ratio(ours, median(p99_ms)),
                str(sum(row.failed for row in group)),
                format_spread([row.resident_mb for row in group], 0),
                format_spread([row.idle_cpu_percent for row in group if row.idle_cpu_percent is not None]),
                str(sum(row.errors_logged for row in group)),
                str(sum(row.server_errors for row in group)),
                format_spread([row.recovery_seconds for row in group if row.recovery_seconds is not None], 2),
            ]
        )
    times = ["p50 ms", "p99 ms", "max ms", f"p99 {OURS.name} ÷ it", "failed"]
    spent = ["RSS MB", "load alone, CPU %", "errors logged", "5xx", "recovers in s"]
    return format_table(["server", *times, *spent], lines)


def _measure(server: Server, scenario: Scenario, count: int, seconds: float) -> Figures:
    with serving(server, "routes", files=scenario.files) as running, OrdinaryUser(running.port, scenario.kinds) as user:
        user.start()
        idle_cpu_percent: float | None = None
        statuses: dict[str, int] = {}
        if scenario.attack is None:
            time.sleep(seconds)
            ordinary = user.stop()
            memory = running.memory()
        else:
            with LoadProgram("benchmarks.clients.attacks", scenario.attack, running.port, count) as load:
                load.wait_report(REPORT_TIMEOUT)
                if scenario.holds:
                    time.sleep(seconds)
                    ordinary = user.stop()
                    memory = running.memory()
                    idle_cpu_percent = running.cpu_percent(IDLE_SECONDS)
                    load.tell("end")
                    statuses = load.wait_report(REPORT_TIMEOUT)["statuses"]
                else:
                    statuses = load.wait_report(REPORT_TIMEOUT)["statuses"]
                    ordinary = user.stop()
                    memory = running.memory()
        recovery_seconds = _wait_recovery(running)
        milliseconds = ordinary.kept_ms + ordinary.new_ms
        if not milliseconds:
            raise BenchmarkError("no ordinary request was answered")
        return Figures(
            scenario.name,
            server.name,
            requests=len(milliseconds),
            failed=ordinary.failed,
            p50_ms=percentile(milliseconds, 50),
            p99_ms=percentile(milliseconds, 99),
            max_ms=max(milliseconds),
            resident_mb=memory.resident / 2**20,
            idle_cpu_percent=idle_cpu_percent,
            errors_logged=running.count_errors(),
            server_errors=sum(
                number for status, number in statuses.items() if status >= "500" and status not in _DESERVED
            ),
            recovery_seconds=recovery_seconds,
        )


def _wait_recovery(running: RunningServer) -> float | None:
    """Return how long it takes until a new connection gets the right answer."""
    start = time.monotonic()
    while time.monotonic() - start < RECOVERY_TIMEOUT:
        try:
            check_server(running.port, minimal_request(running.port), hello.CONTENT_TYPE, hello.BODY)
        except (BenchmarkError, OSError):
            time.sleep(0.01)
        else:
            return time.monotonic() - start
    return None
