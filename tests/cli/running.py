"""Runs the command in a process of its own, for tests that talk to it."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

# However long a test may take on a busy machine: then its process is killed, which ends every wait.
LIFETIME = 40.0


def environment() -> dict[str, str]:
    """Return the environment without what would change the command's settings."""
    names = ("GREENSERVE_", "PORT", "FORWARDED_ALLOW_IPS")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return {**env, "PYTHONPATH": str(ROOT)}


def run(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "greenserve", *args],
        cwd=cwd,
        env={**environment(), **env},
        capture_output=True,
        text=True,
        timeout=LIFETIME,
        check=False,
    )


class Command:
    """A running ``greenserve`` that has printed where it serves.

    Attributes:
        line: The line that it printed.
        process: Its process. stdout is a pipe.
    """

    def __init__(self, *args: str, cwd: Path, stderr: Path, lifetime: float = LIFETIME, **popen: Any) -> None:
        self._stderr = stderr
        popen.setdefault("env", environment())
        with stderr.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "greenserve", *args],
                cwd=cwd,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                **popen,
            )
        self._killer = threading.Timer(lifetime, self.process.kill)
        self._killer.start()
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        assert self.line, self.stderr

    @property
    def stderr(self) -> str:
        return self._stderr.read_text()

    @property
    def ports(self) -> list[int]:
        return [int(port) for port in re.findall(r"http://[^ ]*:(\d+)/", self.line)]

    def get(self, path: str = "/") -> str:
        """Return the body of a response with status 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=LIFETIME)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            assert response.status == 200, body
            return body
        finally:
            connection.close()

    def wait(self) -> tuple[int, str]:
        """Wait for its end and return the exit status and what else it printed."""
        rest, _ = self.process.communicate()
        return self.process.returncode, rest

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.wait()

    def close(self) -> None:
        self._killer.cancel()
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
