"""A server for the long tests, in a process of its own, and what its process costs.

``python -m tests.long.server`` listens on a free port, prints it, and serves until it is told to stop. The app takes a
body and answers with its digest, or sends one of the length that is asked for; with the name of a framework it is that
framework's of ``tests.system.guests``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import greenserve
from greenserve import wsgi
from tests.layers import PACKAGE
from tests.system.guests import FRAMEWORKS

# Bodies repeat this block, which is no multiple of any buffer's size.
BLOCK = bytes(range(251)) * 261


class Server(NamedTuple):
    """A server that runs."""

    port: int
    pid: int

    def memory(self) -> int:
        """Return its resident memory, in KiB."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """Return the most resident memory that it ever had, in KiB."""
        return self._status("VmHWM")

    def _status(self, field: str) -> int:
        found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found, f"no {field} in the process's status"
        return int(found[1])


@contextlib.contextmanager
def run_server(framework: str | None = None) -> Iterator[Server]:
    """Run the server for as long as the context lasts.

    Raises:
        AssertionError: It did not start, or ended with an error.
    """
    command = [sys.executable, "-m", "tests.long.server", *([] if framework is None else [framework])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PACKAGE.parent)
    assert process.stdout
    try:
        port = process.stdout.readline()
        assert port, f"the server ended with {process.wait(10)}"
        yield Server(int(port), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def repeat_block(length: int) -> Iterator[bytes]:
    """Yield a body of that many bytes in blocks."""
    whole, rest = divmod(length, len(BLOCK))
    for _ in range(whole):
        yield BLOCK
    if rest:
        yield BLOCK[:rest]


def digest_of(blocks: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/hello``; ``/digest``: of the body; ``/counted/N``, ``/chunked/N``, ``/file/N``: a body of N bytes."""
    _, what, *rest = environ["PATH_INFO"].split("/")
    if what == "digest":
        body = environ["wsgi.input"]
        answer = digest_of(iter(lambda: body.read(65536), b"")).encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
        return [answer]
    if what == "hello":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
        return [b"hello"]
    length = int(rest[0])
    fields = [("Content-Type", "application/octet-stream")]
    if what == "chunked":
        start_response("200 OK", fields)
        return repeat_block(length)
    start_response("200 OK", [*fields, ("Content-Length", str(length))])
    if what == "counted":
        return repeat_block(length)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - wsgi.file_wrapper closes it
    for block in repeat_block(length):
        file.write(block)
    file.seek(0)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file, 65536)
    return wrapped


def main() -> None:
    # An exception where the main green thread waits, so that the interpreter ends as usual.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener = greenserve.listen(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    wsgi.server(listener, FRAMEWORKS[sys.argv[1]]() if len(sys.argv) > 1 else app)


if __name__ == "__main__":
    main()
