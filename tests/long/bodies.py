"""Bodies of a gigabyte, in and out, counted, chunked and from a file: every byte arrives, and memory stays flat."""

from __future__ import annotations

import argparse
import http.client
import time
from collections.abc import Iterator

from tests.long.server import Server, digest_of, repeat_block, run_server

# How much more memory than before a body may cost, whatever its length.
MAX_GROWTH_KIB = 32 * 1024

READ_SIZE = 1 << 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bytes", type=int, default=1 << 30, help="length of each body (default: 1 GiB)")


def run(arguments: argparse.Namespace) -> dict[str, str]:
    length: int = arguments.bytes
    expected = digest_of(repeat_block(length))
    figures = {"length": f"{length / (1 << 20):.0f} MiB"}
    with run_server() as server:
        assert upload(server, "/digest", repeat_block(1), 1) == digest_of(repeat_block(1))
        before = server.memory()
        for name, transfer in {
            "upload, counted": lambda: upload(server, "/digest", repeat_block(length), length),
            "upload, chunked": lambda: upload(server, "/digest", repeat_block(length)),
            "download, counted": lambda: download(server, f"/counted/{length}"),
            "download, chunked": lambda: download(server, f"/chunked/{length}"),
            "download, from a file": lambda: download(server, f"/file/{length}"),
        }.items():
            began = time.monotonic()
            assert transfer() == expected, f"{name}: other bytes arrived than were sent"
            figures[name] = f"{length / (1 << 20) / (time.monotonic() - began):.0f} MiB/s"
        growth = server.peak_memory() - before
        assert growth <= MAX_GROWTH_KIB, f"memory grew by {growth} KiB"
        figures["most memory beyond that at the start"] = f"{growth / 1024:.1f} MiB"
    return figures


def upload(server: Server, path: str, body: Iterator[bytes], length: int | None = None) -> str:
    """Send a body, chunked if its length is not given, and return what the server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    fields = {"Content-Type": "application/octet-stream"}
    fields |= {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    connection.request("POST", path, body=body, headers=fields, encode_chunked=length is None)
    response = connection.getresponse()
    assert response.status == 200, response.status
    answer = response.read().decode()
    connection.close()
    return answer


def download(server: Server, path: str) -> str:
    """Fetch a body and return its digest."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200, response.status
    digest = digest_of(iter(lambda: response.read(READ_SIZE), b""))
    connection.close()
    return digest
