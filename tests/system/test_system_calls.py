"""What the server asks of the system for each request on a kept connection, counted by strace."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Command

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

REQUESTS = 200
FIELDS = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: me\r\nAccept: */*\r\nX-Number: %d\r\n\r\n"


@contextmanager
def traced(pid: int, output: Path) -> Iterator[None]:
    """Have strace write the process's calls into a file while the context lasts. It is complete afterwards."""
    strace = subprocess.Popen(["strace", "-f", "-p", str(pid), "-o", output], stderr=subprocess.PIPE, text=True)
    assert strace.stderr
    try:
        line = strace.stderr.readline()
        assert "attached" in line, line
        yield
        strace.send_signal(signal.SIGINT)
        strace.wait(10)
    finally:
        strace.kill()
        strace.wait()
        strace.stderr.close()


def read_answer(sock: socket.socket) -> bytes:
    data = b""
    while True:
        part = sock.recv(65536)
        assert part, data
        data += part
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) == int(re.search(rb"Content-Length: (\d+)", head)[1]):  # type: ignore[index]
            return data


@pytest.mark.parametrize("app", ["hello", "flask_app"])
@pytest.mark.parametrize("changing", [False, True], ids=["same", "changing"])
def test_a_request_costs_one_recvfrom_one_sendto_and_no_epoll_ctl(tmp_path: Path, app: str, changing: bool) -> None:
    command = Command(f"tests.system.apps:{app}", "--bind", "127.0.0.1:0", cwd=ROOT, stderr=tmp_path / "stderr")
    try:
        with socket.create_connection(("127.0.0.1", command.ports[0]), timeout=20) as sock:
            for number in range(3):  # what the first requests of a connection cost is not asked here
                sock.sendall(FIELDS % number)
                read_answer(sock)
            with traced(command.process.pid, tmp_path / "calls"):
                for number in range(REQUESTS):
                    sock.sendall(FIELDS % (number if changing else 0))
                    assert read_answer(sock).startswith(b"HTTP/1.1 200 OK\r\n")
        assert command.stop()[0] == 0
    finally:
        command.close()
    # A call that strace resumes was made before it came: the thread that writes the log sleeps in one.
    calls = Counter(re.findall(r"^\d+ +(\w+)\((?!<\.\.\. resuming )", (tmp_path / "calls").read_text(), re.MULTILINE))
    # The poll, and beside it now and then one that finds nothing: the sweep of deadlines wakes the hub.
    polls = calls.pop("epoll_wait", 0) + calls.pop("epoll_pwait", 0)
    assert polls <= REQUESTS * 1.1 + 10
    # Memory is none of this test's concern.
    for name in ("brk", "mmap", "munmap", "madvise"):
        calls.pop(name, None)
    assert calls == {"recvfrom": REQUESTS, "sendto": REQUESTS}
