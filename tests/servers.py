"""Real database servers for tests, each on a free port of the loopback, in a temporary directory that goes with it.

The programs are Debian's: redis-server, postgresql, mariadb-server-core. PostgreSQL refuses to run as root; root
therefore runs all of them as nobody.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docs.running import reserve_port

DEADLINE = 30.0

# Where Debian keeps programs that are not for everybody's PATH.
_ELSEWHERE = ("/usr/sbin", "/usr/lib/postgresql/*/bin")


def require(program: str, package: str) -> str:
    """Return the program's path. Without it the test is skipped, or fails if this is CI, which has to have it."""
    found = shutil.which(program)
    if found is None:
        places = [path for pattern in _ELSEWHERE for path in sorted(Path("/").glob(pattern[1:]))]
        found = shutil.which(program, path=os.pathsep.join(map(str, places)))
    if found is None:
        missing = f"{program} is not installed: it is in Debian's package {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


class Place:
    """A directory for a server, and the user that it runs as."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.options: dict[str, Any] = {
            "cwd": directory,
            "env": {"PATH": os.environ["PATH"], "HOME": directory, "LC_ALL": "C"},
            "stdin": subprocess.DEVNULL,
        }
        self.user = pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            self.user = nobody.pw_name
            self.options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def run(self, *command: str) -> None:
        """Run a command to its end."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, **self.options)
        assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"

    @contextmanager
    def serve(self, *command: str, is_ready: Callable[[], bool], stop: int = signal.SIGTERM) -> Iterator[None]:
        """Run a server until the end of the block, which it is told of by the signal ``stop``."""
        log = Path(self.directory, "log")
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **self.options)
        try:
            deadline = time.monotonic() + DEADLINE
            while not is_ready():
                # A server tells nobody that it is ready: ask again, unless it ends.
                try:
                    code = process.wait(0.05)
                except subprocess.TimeoutExpired:
                    assert time.monotonic() < deadline, f"not ready after {DEADLINE} s\n{log.read_text()}"
                else:
                    raise AssertionError(f"{command[0]} ended with {code}\n{log.read_text()}")
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def temporary_place() -> Iterator[Place]:
    # Not pytest's own, which nobody may not enter.
    with tempfile.TemporaryDirectory(prefix="server", ignore_cleanup_errors=True) as directory:
        yield Place(directory)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def redis() -> Iterator[int]:
    """Run Redis, and give its port."""
    program, port = require("redis-server", "redis-server"), reserve_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with temporary_place() as place, place.serve(program, *options, is_ready=lambda: _listens(port)):
        yield port


@contextmanager
def postgres() -> Iterator[int]:
    """Run PostgreSQL, and give its port. The user greenserve needs no password for the database postgres."""
    initdb, program = require("initdb", "postgresql"), require("postgres", "postgresql")
    is_ready, port = require("pg_isready", "postgresql"), reserve_port()
    with temporary_place() as place:
        data = f"{place.directory}/data"
        place.run(initdb, "-D", data, "-A", "trust", "-U", "greenserve", "-E", "UTF8", "--locale=C", "--no-sync")
        asked = [is_ready, "-q", "-h", "127.0.0.1", "-p", str(port)]
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=200"]
        options = ["-D", data, "-p", str(port), "-k", place.directory, *settings]

        def answers() -> bool:
            return subprocess.run(asked, check=False).returncode == 0

        # INT cuts off who is still connected; TERM would wait for them.
        with place.serve(program, *options, is_ready=answers, stop=signal.SIGINT):
            yield port


@contextmanager
def mariadb() -> Iterator[int]:
    """Run MariaDB, and give its port. The user root needs no password, and there is the database mysql."""
    program = require("mariadbd", "mariadb-server-core")
    install, port = require("mariadb-install-db", "mariadb-server-core"), reserve_port()
    require("my_print_defaults", "mariadb-client-core")  # what the script before calls
    with temporary_place() as place:
        where = ["--no-defaults", f"--datadir={place.directory}/data"]
        place.run(install, *where, "--auth-root-authentication-method=normal", "--skip-test-db")
        files = [f"--socket={place.directory}/socket", f"--pid-file={place.directory}/pid"]
        options = ["--bind-address=127.0.0.1", f"--port={port}", "--innodb-flush-log-at-trx-commit=0", *files]
        with place.serve(program, *where, *options, is_ready=lambda: _listens(port)):
            yield port
