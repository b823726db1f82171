"""Servers that take their time, for the tests of clients: HTTP, a small part of S3, and SMTP.

``python -m tests.system.slow FD`` speaks SMTP on the listening socket with that number.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import greenserve

ROOT = Path(__file__).parent.parent.parent

SECONDS = 0.2  # that each answer takes


class Objects:
    """A WSGI application that keeps what is PUT at a path. A GET gives it back after `SECONDS`; elsewhere, the path."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] == "PUT":
            self.kept[path] = environ["wsgi.input"].read()
            start_response("200 OK", [("ETag", '"kept"'), ("Content-Length", "0")])
            return []
        greenserve.sleep(SECONDS)
        body = self.kept.get(path, path.rpartition("/")[2].encode())
        start_response("200 OK", [("ETag", '"kept"'), ("Content-Length", str(len(body)))])
        return [body]


@contextmanager
def smtp() -> Iterator[int]:
    """Run an SMTP server that accepts a message after `SECONDS`, and gives back its subject. Give its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.system.slow", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
        )
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()
            process.wait()


async def _speak_smtp(fd: int) -> None:
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415 - for the process that is about it

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
            await asyncio.sleep(SECONDS)
            head = envelope.content.decode().split("Subject: ")[1]
            return f"250 got {head.split()[0]}"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="localhost"), sock=socket.socket(fileno=fd))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_speak_smtp(int(sys.argv[1])))
