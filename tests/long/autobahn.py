"""The Autobahn test suite against our WebSocket server, and our client against it.

The suite needs Python 2.7. Make it a virtualenv (virtualenv 16.7.12, pip 20.3.4, setuptools 44.0.0), install
autobahntestsuite 25.10.1 there, and give ``--wstest`` the path of the program, or put it on PATH.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from greenserve.errors import ConnectionClosed
from greenserve.websocket import connect
from tests.layers import PACKAGE

AGENT = "greenserve"

# What the suite calls a case that is as it should be. NON-STRICT: right, but not at the first possible moment.
GOOD = frozenset({"OK", "INFORMATIONAL", "NON-STRICT"})

START_TIMEOUT = 30.0
CASE_TIMEOUT = 300.0  # the longest cases take a minute on a slow machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wstest", default=shutil.which("wstest"), help="the suite's program (default: that on PATH)")
    parser.add_argument("--cases", default="*", help="such as 1.*,9.1.1 (default: all)")
    parser.add_argument("--sides", default="server,client", help="which side of ours (default: both)")


def run(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.wstest is None:
        sys.exit("no wstest on PATH: see python -m tests.long autobahn --help")
    sides = {"server": test_server, "client": test_client}
    cases = arguments.cases.split(",")
    figures: dict[str, str] = {}
    bad: list[str] = []
    for side in arguments.sides.split(","):
        with tempfile.TemporaryDirectory() as folder:
            sides[side](arguments.wstest, cases, Path(folder))
            results = json.loads((Path(folder) / "reports" / "index.json").read_text())[AGENT]
        figures[f"cases for the {side}"] = str(len(results))
        for field, meaning in (("behavior", "behaviour"), ("behaviorClose", "closing")):
            counts = collections.Counter(result[field] for result in results.values())
            figures[f"{side}: {meaning}"] = ", ".join(f"{count} {name}" for name, count in counts.most_common())
            print(side, meaning, figures[f"{side}: {meaning}"], flush=True)  # the other side takes as long again
            bad += [f"{side}: {case}: {meaning} {r[field]}" for case, r in results.items() if r[field] not in GOOD]
    if bad:
        sys.exit("\n".join(["these cases are not as they should be:", *bad, *map(str, figures.items())]))
    return figures


def test_server(wstest: str, cases: list[str], folder: Path) -> None:
    """Let the suite's client talk to our server."""
    with _running([sys.executable, "-m", "tests.long.echo"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        port = int(server.stdout.readline())
        spec = {"servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}]}
        subprocess.run(
            [wstest, "-m", "fuzzingclient", "-s", _write_spec(folder, spec, cases)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=3600,
        )


def test_client(wstest: str, cases: list[str], folder: Path) -> None:
    """Let our client talk to the suite's server."""
    port = _free_port()
    spec = {"url": f"ws://127.0.0.1:{port}"}
    command = [wstest, "-m", "fuzzingserver", "-s", _write_spec(folder, spec, cases), "--webport", "0"]
    with _running(command, cwd=folder, stdout=subprocess.DEVNULL):
        _wait_port(port)
        base = f"ws://127.0.0.1:{port}"
        with connect(f"{base}/getCaseCount") as ws:
            count = int(ws.receive())
        for case in range(1, count + 1):
            _echo(f"{base}/runCase?case={case}&agent={AGENT}")
        with connect(f"{base}/updateReports?agent={AGENT}") as ws:
            assert list(ws) == []


def _echo(url: str) -> None:
    with contextlib.suppress(ConnectionClosed), connect(url, compression=True, timeout=60) as ws:
        for message in iter(lambda: ws.receive(CASE_TIMEOUT), None):
            ws.send(message)


def _write_spec(folder: Path, spec: dict[str, Any], cases: list[str]) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps({"outdir": "reports", "cases": cases, "exclude-cases": [], **spec}))
    return str(path)


@contextlib.contextmanager
def _running(command: list[str], **keywords: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, **{"cwd": PACKAGE.parent, **keywords})
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)  # the system tells nobody that a port is being listened on
        else:
            return
