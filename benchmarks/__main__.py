"""The command line of the benchmarks: a subcommand for each benchmark, or the list of them."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from benchmarks import connections, hostile, http, primitives, tls, watching, websocket
from benchmarks.errors import BenchmarkError
from benchmarks.machine import raise_file_limit

BENCHMARKS = {
    "http": http,
    "primitives": primitives,
    "connections": connections,
    "hostile": hostile,
    "tls": tls,
    "watching": watching,
    "websocket": websocket,
}


def main(arguments: list[str] | None = None) -> int:
    """Run one benchmark and return the exit code: 1 if something it measured failed, 2 if it could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure greenserve beside its peers.")
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK")
    for name, module in BENCHMARKS.items():
        question = (module.__doc__ or "").partition("\n\n")[0]
        subparser = subparsers.add_parser(name, help=question, description=question)
        module.add_arguments(subparser)
    options = parser.parse_args(arguments)
    if options.benchmark is None:
        parser.print_help()
        return 0
    # The default action of SIGTERM would leave the servers behind: unwinding stops them.
    signal.signal(signal.SIGTERM, _unwind)
    raise_file_limit()
    try:
        code: int = BENCHMARKS[options.benchmark].run(options)
    except BenchmarkError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    return code


def _unwind(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
