"""One server of the catalogue, running: started, waited for, observed from outside, stopped.

Knows nothing of what is asked of it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from benchmarks import processes
from benchmarks.errors import BenchmarkError
from benchmarks.machine import SERVER_CORE
from benchmarks.servers import Server

__all__ = ["RunningServer", "count_errors", "serving"]

START_TIMEOUT = 15.0

_TRACEBACK = r"Traceback \(most recent call last\)"
# Before the level of a line come only times and numbers. A traceback belongs to the line before it, where that is an
# error; some servers print it without one.
_ERROR = re.compile(rf"^[\d\s\[\]:,.+-]*(?:ERROR|CRITICAL)[\s\]:].*(?:\n{_TRACEBACK})?|^{_TRACEBACK}", re.MULTILINE)


@dataclass(frozen=True)
class RunningServer:
    """A server that accepts connections on 127.0.0.1.

    Attributes:
        server: Its row of the catalogue.
        port: Its port.
        process: Its first process.
        log: All that it wrote to stdout and stderr, growing.
    """

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]

    def pids(self) -> list[int]:
        """Return its processes now: a server may accept connections before its workers are there.

        Raises:
            BenchmarkError: It has ended.
        """
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.server.name} has ended; its log ends: {_end_of(self.log)}")
        return processes.tree_of(self.process.pid)

    def memory(self) -> processes.Memory:
        """Return the memory that it holds."""
        return processes.memory_of(self.pids())

    def cpu_percent(self, seconds: float) -> float:
        """Return which share of a core it uses during the next ``seconds``."""
        pids = self.pids()
        cpu, start = processes.cpu_seconds(pids), time.monotonic()
        time.sleep(seconds)
        return (processes.cpu_seconds(pids) - cpu) / (time.monotonic() - start) * 100

    def count_errors(self) -> int:
        """Return how many errors it has logged."""
        self.log.seek(0)
        return count_errors(self.log.read().decode("utf-8", "replace"))


def count_errors(log: str) -> int:
    """Return how many errors a log has: lines at level ERROR or above, and tracebacks that follow no such line."""
    return len(_ERROR.findall(log))


@contextlib.contextmanager
def serving(
    server: Server, app: str, *, files: int | None = None, certfile: str | None = None
) -> Iterator[RunningServer]:
    """Run ``server`` with ``app`` on the server core while the context lasts.

    Args:
        server: The row of the catalogue.
        app: The name of one of ``benchmarks.apps``.
        files: The server's limit of open files, where it is to be lower than ours.
        certfile: A PEM file with key and certificate: the server, one of the green ones, speaks TLS.

    Raises:
        BenchmarkError: It ended, or accepted no connection within ``START_TIMEOUT`` seconds. The end of its log is in
        the message.
    """
    port = _free_port()
    module = server.program if "." in server.program else f"servers.{server.program}"
    command = [sys.executable, "-m", f"benchmarks.{module}", "127.0.0.1", str(port), app]
    if certfile is not None:
        command += ["--certfile", certfile]
    with tempfile.TemporaryFile() as log:
        process = processes.start_pinned(
            command, SERVER_CORE, files=files, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            if not _wait_port(process, port):
                raise BenchmarkError(f"{server.name} does not accept connections; its log ends: {_end_of(log)}")
            yield RunningServer(server, port, process, log)
        finally:
            processes.stop_group(process)


def _end_of(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace").strip()[-1000:] or "(empty)"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_port(process: subprocess.Popen[bytes], port: int) -> bool:
    """Return whether something accepts connections before the process ends or its time is up."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
                # With nobody listening, a socket on loopback can by chance get the same port and connect to itself.
                if sock.getsockname() != sock.getpeername():
                    return True
        except OSError:
            pass
        time.sleep(0.02)
    return False
