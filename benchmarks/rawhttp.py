"""The requests that the benchmarks send, as bytes, and a reader strict enough to check the answers.

Knows no server and no load generator. Reads only what the benchmarks' own apps answer: a body with a Content-Length.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from benchmarks.errors import BenchmarkError

__all__ = ["COUNTER", "Response", "browser_request", "check_server", "exchange", "head_and_length", "minimal_request"]

# Stands in a request where the load generator counts up, so that the field differs in every request.
COUNTER = b"@N@"

_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """One answer: its status code, its fields by lower-case name, its body."""

    status: int
    fields: dict[str, str]
    body: bytes


def minimal_request(port: int, path: str = "/") -> bytes:
    """Return a GET request with the one field that HTTP/1.1 asks for."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def browser_request(port: int, *, changing: bool = False) -> bytes:
    """Return a GET request with 13 fields, as a browser sends when a link is followed.

    Args:
        port: The server's port, for ``Host`` and ``Referer``.
        changing: Put ``COUNTER`` into ``Referer`` and ``Cookie``.
    """
    count = COUNTER.decode() if changing else "1"
    fields = (
        f"Host: 127.0.0.1:{port}",
        "Connection: keep-alive",
        'sec-ch-ua: "Chromium";v="128", "Not;A=Brand";v="24"',
        'sec-ch-ua-platform: "Linux"',
        f"User-Agent: {_USER_AGENT}",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
        f"Referer: http://127.0.0.1:{port}/articles?page={count}",
        "Accept-Encoding: gzip, deflate, br",
        "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
        f"Cookie: session=b2d7c1c0a54f4e0c9f3e; seen={count}",
    )
    return "\r\n".join(("GET / HTTP/1.1", *fields, "", "")).encode()


def head_and_length(data: bytes) -> tuple[bytes, int] | None:
    """Return the head at the start of ``data``, and the bytes of head and body together; None for an incomplete head.

    Raises:
        BenchmarkError: The head does not begin as HTTP/1.x does, or announces no length.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[: end + 4]
    length = _CONTENT_LENGTH.search(head)
    if not head.startswith(b"HTTP/1.") or length is None:
        raise BenchmarkError(f"not a response with a Content-Length: {head[:200]!r}")
    return head, end + 4 + int(length[1])


def exchange(sock: socket.socket, request: bytes) -> Response:
    """Send one request over a blocking socket and return the response.

    Raises:
        BenchmarkError: The peer closed too early, or its answer is not what this module reads.
        OSError: The socket failed or timed out.
    """
    sock.sendall(request)
    data = sock.recv(65536)
    while (found := head_and_length(data)) is None or len(data) < found[1]:
        block = sock.recv(65536)
        if not block:
            raise BenchmarkError(f"the connection ended after {len(data)} bytes: {data[:200]!r}")
        data += block
    head, length = found
    if len(data) > length:
        raise BenchmarkError(f"{len(data) - length} bytes follow the response: {data[length : length + 200]!r}")
    status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Response(int(status_line.split(" ")[1]), fields, data[len(head) :])


def check_server(port: int, request: bytes, content_type: str, body: bytes) -> None:
    """Make sure that a server answers with 200, this type, this length and this body, twice on one connection.

    Raises:
        BenchmarkError: It does not.
        OSError: The connection failed.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        for count in (b"1", b"2"):
            response = exchange(sock, request.replace(COUNTER, count))
            expected = {"content-type": content_type, "content-length": str(len(body))}
            fields = {name: response.fields.get(name) for name in expected}
            if (response.status, fields, response.body) != (200, expected, body):
                raise BenchmarkError(f"wrong answer to {request[:60]!r}: {response}")
