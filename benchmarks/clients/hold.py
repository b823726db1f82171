"""Opens keep-alive connections with one request each, reports when all are there, and holds them until told.

Then it asks on each once more: the answers prove that the server held them all, too.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.clients.fleet import Fleet
from benchmarks.clients.lines import report, wait_told
from benchmarks.machine import raise_file_limit
from benchmarks.rawhttp import minimal_request


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    raise_file_limit()
    fleet = Fleet(options.port)
    start = time.monotonic()
    fleet.open(options.count, minimal_request(options.port))
    report(seconds=time.monotonic() - start)
    wait_told()
    report(seconds=fleet.ask_all(minimal_request(options.port)))
    fleet.close()


if __name__ == "__main__":
    main()
