"""A master in a process of its own, with what it logs as it comes, and clients that check every answer."""

from __future__ import annotations

import http.client
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.cli.running import environment

# However long a step may take on a busy machine.
DEADLINE = 30.0

# Answers with the process that answers, and what it was asked for.
APP = """
import os

def app(environ, start_response):
    body = f"{os.getpid()} {environ['PATH_INFO']}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

# Says by a "100 Continue" that the request runs, and ends it when its body, of two bytes, has come.
READING = APP.replace("    body =", "    environ['wsgi.input'].read()\n    body =")

# Ends the program, at /exit.
ENDING = READING.replace(
    "    environ", "    if environ['PATH_INFO'] == '/exit':\n        raise SystemExit(CODE)\n    environ"
)

_REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"


class Lines:
    """The lines of a pipe, read by a thread, for any number of threads that wait for one."""

    def __init__(self, pipe: IO[str]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def text(self) -> str:
        with self._news:
            return "".join(self._lines)

    def __len__(self) -> int:
        with self._news:
            return len(self._lines)

    def wait_for(self, pattern: str, count: int = 1, after: int = 0) -> list[re.Match[str]]:
        """Return the matches in the lines behind the first ``after``, once there are ``count``."""

        def found() -> list[re.Match[str]]:
            return [match for line in self._lines[after:] if (match := re.search(pattern, line))]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= count or self._ended, DEADLINE)
            matches = found()
        assert len(matches) >= count, f"{len(matches)} of {count} lines with {pattern!r} in\n{self.text}"
        return matches

    def close(self) -> None:
        self._thread.join()
        self._pipe.close()


class Master:
    """A running ``greenserve`` with a master.

    Attributes:
        process: The master's process.
        out: What it prints.
        err: What it logs.
        port: Where it serves; of the first address.
    """

    def __init__(self, folder: Path, *args: str, wait: bool = True, prefix: Sequence[str] = (), **popen: Any) -> None:
        """Start it in ``folder``, behind the command ``prefix``, and wait until it serves unless told not to."""
        self.folder = folder
        # What it puts among temporary files goes with the folder, since it is killed in the end.
        popen.setdefault("env", {**environment(), "TMPDIR": str(folder)})
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "greenserve", *args],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # without a terminal, and to be killed as a group
            **popen,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.out = Lines(self.process.stdout)
        self.err = Lines(self.process.stderr)
        self.port = 0
        if wait:
            line = self.out.wait_for(r"greenserve .* serving .*")[0].string
            ports = re.findall(r"http://[^ ]*:(\d+)/", line)
            self.port = int(ports[0]) if ports else 0

    def workers(self, after: int = 0, count: int = 1) -> list[int]:
        """Return the processes of the workers that became ready, in that order, once there are ``count``."""
        ready = self.err.wait_for(r"process (\d+)\) is ready", count, after)
        return [int(match[1]) for match in ready]

    def send(self, number: int) -> int:
        """Send the master a signal, and return how many lines it had logged before."""
        before = len(self.err)
        self.process.send_signal(number)
        return before

    def get(self, path: str = "/") -> str:
        """Return the body of an answer with status 200."""
        status, body = ask(self.port, path)
        assert status == 200, body
        return body

    def wait(self) -> int:
        """Wait for the end of the master, and return its exit status."""
        return self.process.wait(DEADLINE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send(number)
        return self.wait()

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.out.close()
        self.err.close()


@contextmanager
def running(folder: Path, *args: str, app: str = APP, **popen: Any) -> Iterator[Master]:
    """Run a master in ``folder``, with an application there in ``shop.py``, on a free port."""
    (folder / "shop.py").write_text(app)
    if not any(arg in ("--bind", "-b") for arg in args):
        args = (*args, "--bind", "127.0.0.1:0")
    master = Master(folder, *args, **popen)
    try:
        yield master
    finally:
        master.close()


def ask(port: int, path: str = "/") -> tuple[int, str]:
    """Return status and body of one answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def begin(port: int) -> socket.socket:
    """Return a connection whose request runs in `READING`."""
    client = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)
    client.sendall(_REQUEST)
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")
    return client


def wait_gone(pid: int) -> None:
    """Wait until the process ``pid``, which need not be a child, has ended and was reaped or is a zombie."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(fd, 1)
        assert poll.poll(DEADLINE * 1000), f"process {pid} still runs"
    finally:
        os.close(fd)


class Clients:
    """Threads that ask again and again, and check each answer.

    Half of them keep their connections, the others have a new one for each request.

    Attributes:
        answered: How many right answers there were.
        failures: What went wrong, one line each.
        pids: How many answers each process gave.
    """

    def __init__(self, port: int, count: int = 6) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.pids: dict[int, int] = {}
        self._port = port
        self._stop = False
        self._news = threading.Condition()
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number % 2 == 0), daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more, and wait for the answers."""
        self._stop = True
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()

    def wait_for_answers(self, count: int) -> None:
        """Wait for ``count`` more right answers."""
        with self._news:
            goal = self.answered + count
            assert self._news.wait_for(lambda: self.answered >= goal, DEADLINE), self.failures

    def _ask(self, number: int, keeps: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        count = 0
        while not self._stop:
            count += 1
            path = f"/{number}/{count}"
            started = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)
                connection.request("GET", path, headers={} if keeps else {"Connection": "close"})
                response = connection.getresponse()
                body = response.read().decode()
                pid, _, echo = body.partition(" ")
                assert (response.status, echo) == (200, path), (response.status, body)
                if not keeps or response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException, AssertionError) as exc:
                with self._news:
                    self.failures.append(f"{path} after {time.monotonic() - started:.2f} s: {exc!r}")
                if connection is not None:
                    connection.close()
                    connection = None
            else:
                with self._news:
                    self.answered += 1
                    self.pids[int(pid)] = self.pids.get(int(pid), 0) + 1
                    self._news.notify_all()
        if connection is not None:
            connection.close()
