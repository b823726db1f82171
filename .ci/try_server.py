"""Run a command that serves, as a reader of the README would: wait for the address it prints, look, press Ctrl-C.

``python try_server.py FOLDER COMMAND``. The command is given a free port in place of its usual one. Exits with an
error if no address comes, the page there is not a page, or the command does not stop cleanly.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request

INSTALL_AND_START_TIMEOUT = 300.0
STOP_TIMEOUT = 40.0


def main(folder: str, command: str) -> None:
    # A script in the background ignores SIGINT, and what it starts would inherit that. A handler is not inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "GREENSERVE_BIND": "127.0.0.1:0", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    watch = threading.Timer(INSTALL_AND_START_TIMEOUT, os.killpg, (process.pid, signal.SIGKILL))
    watch.start()
    try:
        address = None
        for line in process.stdout:
            print(f"  {line}", end="")
            if match := re.search(r"http://127\.0\.0\.1:\d+[\w/]*", line):
                address = match[0]
                break
        if not address:
            sys.exit(f"no address was printed; exit code {process.wait()}")
        with urllib.request.urlopen(address, timeout=10) as response:
            print(f"  {response.status} {response.headers['Content-Type']}, {len(response.read())} bytes")
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=STOP_TIMEOUT)
        print(f"  {rest.strip()}")
        # The shell may report the interrupt that it received too.
        if process.returncode not in {0, 130, -signal.SIGINT}:
            sys.exit(f"stopped with exit code {process.returncode}")
    finally:
        watch.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
