"""Opens connections, asks ``/sleep`` on all of them at once, and reports how long it took until all were answered."""

from __future__ import annotations

import argparse

from benchmarks.clients.fleet import Fleet
from benchmarks.clients.lines import report
from benchmarks.machine import raise_file_limit
from benchmarks.rawhttp import minimal_request


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    raise_file_limit()
    fleet = Fleet(options.port)
    fleet.open(options.count, minimal_request(options.port))
    report(seconds=fleet.ask_all(minimal_request(options.port, "/sleep")))
    fleet.close()


if __name__ == "__main__":
    main()
