"""The command with a certificate."""

from __future__ import annotations

import http.client
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve._kinds import Numbered
from greenserve.settings import SETTINGS
from tests.certificates import Files, asking_context, server_certificate, write_files
from tests.cli.running import LIFETIME, Command, run

START = Callable[..., Command]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[START]:
    """Start the command on a free port, with arguments."""
    started: list[Command] = []

    def start_command(*args: str) -> Command:
        command = Command(*args, "--bind", "127.0.0.1:0", cwd=tmp_path, stderr=tmp_path / f"stderr-{len(started)}")
        started.append(command)
        return command

    yield start_command
    for command in started:
        command.close()


def check(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Let the command check its settings."""
    return run("--check-config", *args, cwd=cwd)


def port_of(command: Command) -> int:
    found = re.search(r" at https://127\.0\.0\.1:(\d+)/ ", command.line)
    assert found, command.line
    return int(found[1])


def ask(port: int) -> tuple[bytes, list[str]]:
    """The answer to ``/health``, and the names in the server's certificate."""
    context = asking_context()
    context.check_hostname = False
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=LIFETIME, context=context)
    try:
        connection.connect()
        certificate = connection.sock.getpeercert()
        connection.request("GET", "/health")
        return connection.getresponse().read(), [name for _, name in certificate["subjectAltName"]]
    finally:
        connection.close()


def test_with_a_certificate_it_speaks_tls_and_says_so(start: START, files: Files) -> None:
    command = start("--certfile", files.certfile, "--keyfile", files.keyfile)
    assert ask(port_of(command)) == (b'{"status": "ok"}\n', ["localhost", "127.0.0.1"])
    assert command.stop() == (0, "")


def test_hup_has_the_certificate_read_again_and_a_wrong_one_changes_nothing(start: START, files: Files) -> None:
    command = start("--certfile", files.both)
    port = port_of(command)
    write_files(Path(files.both).parent, server_certificate("renewed.example"))
    assert ask(port)[1] == ["localhost", "127.0.0.1"]
    command.process.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(port)[1] == ["renewed.example", "127.0.0.1"])
    Path(files.both).write_text("nothing of value")
    command.process.send_signal(signal.SIGHUP)
    wait_until(lambda: ask(port)[1] == ["renewed.example", "127.0.0.1"] and "stays as it was" in command.stderr)
    assert "the certificate was read again" in command.stderr
    assert f"the certificate stays as it was: certfile = '{files.both}' holds no certificate" in command.stderr
    assert command.stop() == (0, "")


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again until it is so: each question takes a handshake's time."""
    deadline = time.monotonic() + LIFETIME
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"


def test_clients_can_be_asked_for_certificates(start: START, files: Files) -> None:
    port = port_of(start("--certfile", files.both, "--ca-certs", files.ca_certs, "--cert-reqs", "required"))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        ask(port)


def test_the_cipher_suites_of_tls_1_2_can_be_chosen(start: START, files: Files) -> None:
    port = port_of(start("--certfile", files.both, "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"))
    context = asking_context(ssl.TLSVersion.TLSv1_2)
    connection = http.client.HTTPSConnection("localhost", port, timeout=LIFETIME, context=context)
    try:
        connection.connect()
        assert connection.sock.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    finally:
        connection.close()


def test_the_check_of_settings_looks_at_the_files_too(files: Files) -> None:
    cwd = Path(files.both).parent
    assert check("--certfile", files.both, cwd=cwd).returncode == 0
    done = check("--certfile", "ca.pem", "--keyfile", "key.pem", cwd=cwd)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "greenserve: keyfile = 'key.pem' does not hold the key of the certificate in 'ca.pem'\n"


def test_tls_without_a_certificate_is_refused(files: Files) -> None:
    done = check("--keyfile", files.keyfile, cwd=Path(files.both).parent)
    assert (done.returncode, done.stderr) == (
        1,
        "greenserve: keyfile without certfile: a server needs a certificate to speak TLS\n",
    )


@pytest.mark.parametrize(
    ("value", "word"), [("none", "none"), ("Required", "required"), ("1", "optional"), (2, "required"), (0, "none")]
)
def test_cert_reqs_is_a_word_or_its_number(value: object, word: str) -> None:
    assert SETTINGS["cert_reqs"].parse(value) == word


@pytest.mark.parametrize("value", ["3", "-1", "", "yes", 3, -1, True, 1.0, None, "\u0661"])
def test_a_number_without_a_word_is_refused(value: object) -> None:
    kind = Numbered("X", "a", "b", "c")
    with pytest.raises((TypeError, ValueError)):
        kind.parse(value) if isinstance(value, str) else kind.check(value)
