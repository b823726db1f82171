"""Bodies of a gigabyte through each framework, in and out: every byte arrives, and memory stays flat."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from tests.long.bodies import MAX_GROWTH_KIB, download, upload
from tests.long.server import digest_of, run_server
from tests.system.guests import FRAMEWORKS, blocks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bytes", type=int, default=1 << 30, help="length of each body (default: 1 GiB)")


def run(arguments: argparse.Namespace) -> dict[str, str]:
    length: int = arguments.bytes
    expected = digest_of(blocks(length))
    figures = {"length": f"{length / (1 << 20):.0f} MiB"}
    for framework in FRAMEWORKS:
        with run_server(framework) as server:
            # Whatever it loads and caches at its first requests.
            assert upload(server, "/length", _pieces(1), 1) == "1"
            assert download(server, "/stream?n=1") == digest_of(blocks(1))
            before = server.memory()
            began = time.monotonic()
            # Pyramid's and Falcon's own streams end where the field Content-Length says.
            assert upload(server, "/length", _pieces(length), length) == str(length), f"{framework}: bytes were lost"
            middle = time.monotonic()
            assert download(server, f"/stream?n={length}") == expected, f"{framework}: other bytes came than were sent"
            end = time.monotonic()
            growth = server.peak_memory() - before
            assert growth <= MAX_GROWTH_KIB, f"{framework}: memory grew by {growth} KiB"
        speeds = [f"{length / (1 << 20) / seconds:.0f}" for seconds in (middle - began, end - middle)]
        figures[framework] = f"{speeds[0]} MiB/s in, {speeds[1]} MiB/s out, {growth / 1024:.1f} MiB more memory"
    return figures


def _pieces(length: int) -> Iterator[bytes]:
    """Larger blocks than the framework's own, so that sending them does not set the pace."""
    piece = b"".join(blocks(1 << 20))
    for start in range(0, length, len(piece)):
        yield piece[: length - start]
