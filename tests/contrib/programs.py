"""Programs that tests run beside them: started, waited for by what they say, stopped, and gone at the end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, final

ROOT = Path(__file__).parent.parent.parent

# However long a test may take on a busy machine: then its programs are killed, which ends every wait.
LIFETIME = 50.0


def environment(**more: str) -> dict[str, str]:
    """Return the environment in which the project is found, without what would change its settings."""
    names = ("GREENSERVE_", "PORT", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return {**env, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


@final
class Program:
    """A running program. Use it in a with statement.

    Attributes:
        process: Its process.
        output: What it has written so far, to stdout and stderr.
    """

    def __init__(self, *command: str, cwd: Path, env: dict[str, str] | None = None) -> None:
        self.output = ""
        self._news = threading.Condition()
        self._has_ended = False
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._killer = threading.Timer(LIFETIME, self._kill)
        self._killer.start()
        assert self.process.stdout
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    @classmethod
    def of_python(cls, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Program:
        return cls(sys.executable, *arguments, cwd=cwd, env=env)

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._news:
                self.output += line
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until what it has written has ``count`` matches of ``pattern``, and return the last of those.

        Raises:
            AssertionError: It ended before, or was killed at the end of its time.
        """

        def matches() -> list[re.Match[str]]:
            return list(re.finditer(pattern, self.output, re.MULTILINE))

        with self._news:
            self._news.wait_for(lambda: self._has_ended or len(matches()) >= count)
            found = matches()
        assert len(found) >= count, f"no {pattern!r} in:\n{self.output}"
        return found[count - 1]

    def wait_for_port(self, port: int) -> None:
        """Wait until something listens on the port.

        Raises:
            AssertionError: It ended before, or was killed at the end of its time.
        """
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=LIFETIME).close()
            except OSError:
                # Nobody is told that a port is listened on: ask again, unless the program ends.
                try:
                    code = self.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
                self._reader.join()
                raise AssertionError(f"ended with {code} before it listened\n{self.output}") from None
            return

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait()
        self._reader.join()
        return code

    def _kill(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._killer.cancel()
        self._kill()  # its children too
        self.wait()
        assert self.process.stdout
        self.process.stdout.close()
