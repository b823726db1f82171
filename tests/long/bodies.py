"""Bodies of a gigabyte, in and out, counted, chunked and from a file: every byte arrives, and memory stays flat."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import time

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
        assert _upload(server, 1, chunked=False) == digest_of(repeat_block(1))
        before = server.memory()
        for name, transfer in {
            "upload, counted": lambda: _upload(server, length, chunked=False),
            "upload, chunked": lambda: _upload(server, length, chunked=True),
            "download, counted": lambda: _download(server, f"/counted/{length}"),
            "download, chunked": lambda: _download(server, f"/chunked/{length}"),
            "download, from a file": lambda: _download(server, f"/file/{length}"),
        }.items():
            began = time.monotonic()
            assert transfer() == expected, f"{name}: other bytes arrived than were sent"
            figures[name] = f"{length / (1 << 20) / (time.monotonic() - began):.0f} MiB/s"
        growth = server.peak_memory() - before
        assert growth <= MAX_GROWTH_KIB, f"memory grew by {growth} KiB"
        figures["most memory beyond that at the start"] = f"{growth / 1024:.1f} MiB"
    return figures


def _upload(server: Server, length: int, *, chunked: bool) -> str:
    """Send a body and return the digest that the server answers with."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    fields = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(length)}
    connection.request("PUT", "/digest", body=repeat_block(length), headers=fields, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.status == 200, response.status
    answer = response.read().decode()
    connection.close()
    return answer


def _download(server: Server, path: str) -> str:
    """Fetch a body and return its digest."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200, response.status
    digest = hashlib.blake2b(digest_size=16)
    while block := response.read(READ_SIZE):
        digest.update(block)
    connection.close()
    return digest.hexdigest()
