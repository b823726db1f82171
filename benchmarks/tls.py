"""What does TLS cost a server, for each handshake and each megabyte, where the same OpenSSL does the work for all?

Each server runs alone on one core, a client with eight connections on another. CPU time is the figure to compare: a
client needs about as much of it as the server does, so that rates would be its own.
"""

from __future__ import annotations

import argparse
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import rounds
from benchmarks.apps.routes import LARGE_BODY_BYTES
from benchmarks.errors import BenchmarkError
from benchmarks.processes import LoadProgram, cpu_seconds
from benchmarks.reports import format_spread, format_table, median, ratio
from benchmarks.servers import GREEN_SERVERS, OURS, Server, choose, versions_of
from benchmarks.serving import RunningServer, serving

__all__ = ["CASES", "add_arguments", "run"]

CONNECTIONS = 8
START_TIMEOUT = 30.0
RUN_TIMEOUT = 100.0
_MEGABYTES = LARGE_BODY_BYTES / 1e6


@dataclass(frozen=True)
class Case:
    """One kind of thing that clients do.

    Attributes:
        name: For ``--cases``, and which of ``benchmarks.clients.tls``.
        title: For the table.
        unit: What is counted.
        units: How many of them one time has.
        times: How often it is done in a round, at scale 1.
    """

    name: str
    title: str
    unit: str
    units: float
    times: int


CASES = (
    Case("handshake", "a new connection: TLS 1.3, ECDSA P-256, and one small request", "handshake", 1, 1_000),
    Case("kept", "a small request on a kept connection", "request", 1, 10_000),
    Case("download", "5 MB down, on a kept connection", "MB", _MEGABYTES, 100),
    Case("upload", "5 MB up, on a kept connection", "MB", _MEGABYTES, 100),
)


@dataclass
class Figures(rounds.Row):
    """Each list has one figure a round."""

    cpu_us: list[float] = field(default_factory=list)  # for each unit
    per_second: list[float] = field(default_factory=list)  # units, with the client that it had


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ",".join(case.name for case in CASES)
    rounds.add_arguments(parser)
    parser.add_argument("--cases", metavar="A,B", default=names, help=f"only these (default: {names})")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the load, for quick runs (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Measure, print the tables, and return 1 if any server failed, else 0."""
    servers = choose(options.servers, GREEN_SERVERS)
    cases = rounds.choose_named("case", options.cases, CASES)
    versions = {**versions_of(servers), "OpenSSL": ssl.OPENSSL_VERSION.split()[1]}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    figures = {(case.name, server.name): Figures(case.name, server.name) for case in cases for server in servers}
    with tempfile.TemporaryDirectory() as folder:
        certfile = _make_certificate(Path(folder))
        for server in rounds.take_turns(servers, options.rounds):
            _measure_server(server, cases, certfile, options.scale, figures)
    for case in cases:
        print(f"\n{case.title}\n\n{format_case(case, [figures[case.name, server.name] for server in servers])}")
    settings = {"scale": options.scale, "rounds": options.rounds, "connections": CONNECTIONS}
    return rounds.finish(
        options, "tls", settings, versions, [row for row in figures.values() if row.cpu_us or row.failure]
    )


def format_case(case: Case, rows: Sequence[Figures]) -> str:
    """Return the table of one case, in the order of the catalogue; a failed server without figures."""
    ours = next((_capacity(row) for row in rows if row.server == OURS.name), None)
    lines = []
    for row in rows:
        if row.failure is not None:
            lines.append([row.server, "failed", "-", "-", "-"])
        elif row.cpu_us:
            capacity, rate = _capacity(row), format_spread(row.per_second, 0)
            lines.append([row.server, format_spread(row.cpu_us), f"{capacity:,.0f}", ratio(ours, capacity), rate])
    unit = case.unit
    headings = ["server", f"CPU µs per {unit}", f"{unit}/CPU second", f"{OURS.name} ÷ it", f"{unit}/s in this run"]
    return format_table(headings, lines)


def _capacity(row: Figures) -> float | None:
    """How many units a second of CPU time is good for."""
    cpu_us = median(row.cpu_us)
    return 1e6 / cpu_us if cpu_us and row.failure is None else None


def _make_certificate(folder: Path) -> str:
    """Return a file with a new key and a certificate for it, which nobody vouches for."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BenchmarkError("openssl is not installed; it makes the servers' certificate")
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"openssl made no certificate: {done.stderr.strip()[-500:]}")
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return str(both)


def _measure_server(
    server: Server, cases: Sequence[Case], certfile: str, scale: float, figures: dict[tuple[str, str], Figures]
) -> None:
    """Measure the cases of one server, once, in one process."""
    pending = [case for case in cases if figures[case.name, server.name].failure is None]
    case = pending[0] if pending else None
    try:
        with serving(server, "routes", certfile=certfile) as running:
            for case in pending:
                _measure_case(running, case, max(int(case.times * scale), 1), figures[case.name, server.name])
    except (BenchmarkError, OSError) as exc:
        if case is not None:
            figures[case.name, server.name].failure = str(exc)


def _measure_case(running: RunningServer, case: Case, times: int, row: Figures) -> None:
    with LoadProgram("benchmarks.clients.tls", running.port, case.name, times, CONNECTIONS) as load:
        load.wait_report(START_TIMEOUT)
        # The same processes before and after: one that ends in between fails the measurement, as it would falsify it.
        pids = running.pids()
        before = cpu_seconds(pids)
        load.tell("go")
        seconds = load.wait_report(RUN_TIMEOUT)["seconds"]
        cpu = cpu_seconds(pids) - before
    units = times * case.units
    row.cpu_us.append(cpu / units * 1e6)
    row.per_second.append(units / seconds)
