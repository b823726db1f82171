"""Runs the blocks of one page, from the first to the last, as a reader would: in one folder, with what came before.

Each block is a process of its own, with a deadline. The ports that examples use are replaced by free ones, in the
blocks and back again in what they print, so that pages can be run side by side.
"""

from __future__ import annotations

import http.client
import itertools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.markdown import ROOT, Block, Page

# The ports that examples may use: the first is the command's default.
PORTS = ("8000", "8001", "8080", "7000")
_PORT = re.compile(rf"(?<!\d)(?:{'|'.join(PORTS)})(?!\d)")

# Programs that a reader may lack. Where one is missing, the page is skipped from there on.
OPTIONAL_PROGRAMS = frozenset({"chromium", "curl", "nc", "nginx", "strace", "wrk"})

# The commands that are installed with the project.
COMMANDS = {"greenserve": "greenserve", "greenserve-migrate": "greenserve.compat.migrate"}

BLOCK_TIMEOUT = 30.0
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0

# What the command prints when all that it has started serves.
ANNOUNCED = "(Ctrl-C stops)"


class Command(NamedTuple):
    """One command of a console block, and the output that the page shows for it."""

    line: str
    output: str


class Served:
    """A process that serves until it is stopped."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], output: Path) -> None:
        self.output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def wait_for(self, port: int) -> None:
        """Wait until something listens on the port.

        Raises:
            AssertionError: The process ended, or the time did.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError as exc:
                # The system tells nobody that a port is being listened on: ask again, unless the process ends.
                try:
                    code = self.process.wait(0.05)
                except subprocess.TimeoutExpired:
                    if time.monotonic() < deadline:
                        continue
                    raise AssertionError(f"no answer after {START_TIMEOUT} s: {exc}\n{self.text()}") from exc
                raise AssertionError(f"ended with {code} before it served\n{self.text()}") from exc
            return

    def wait_for_text(self, text: str) -> None:
        """Wait until it has printed ``text``: with several workers it does so once all of them serve.

        Raises:
            AssertionError: The process ended, or the time did.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while text not in self.text():
            # A file tells nobody that it grows: look again, unless the process ends.
            try:
                code = self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, f"no {text!r} after {START_TIMEOUT} s\n{self.text()}"
            else:
                assert text in self.text(), f"ended with {code} before it printed {text!r}\n{self.text()}"

    def stop(self) -> None:
        """Ask it to stop, as a terminal or a service manager would. Killed if it doesn't.

        Raises:
            AssertionError: It did not stop by itself.
        """
        if self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"still there {STOP_TIMEOUT} s after SIGTERM\n{self.text()}") from None

    def text(self) -> str:
        return self.output.read_text()


class PageRun:
    """One reader's way through a page."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.programs = folder / ".bin"
        self.ports = {port: reserve_port() for port in PORTS}
        self.source = ""  # the Python run last, for a block that continues it
        self.output = ""  # what the block run last printed
        self.unused: dict[str, int] = {}  # files that no block has used yet, and the lines that they come from
        self.served: list[tuple[Block, str, Served]] = []
        self.env = {
            name: value for name, value in os.environ.items() if not name.startswith("GREENSERVE_") and name != "PORT"
        }
        self.env["GREENSERVE_BIND"] = f"127.0.0.1:{self.ports['8000']}"
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.programs}:{self.env['PATH']}"
        self.env["PYTHONPATH"] = str(ROOT)
        self.env["PYTHONUNBUFFERED"] = "1"

    def run(self) -> None:
        """Run every block.

        Raises:
            AssertionError: A block failed or printed something else than the page shows. Begins ``page:line: ``.
        """
        self._provide_command()
        try:
            for block in self.page.blocks:
                try:
                    self._run_block(block)
                except AssertionError as exc:
                    raise AssertionError(f"{self.page}:{block.line}: {exc}") from None
        finally:
            stopped = [self._stop(*item) for item in self.served]
        assert not any(stopped), "\n".join(stopped)
        assert not self.unused, f"{self.page}: saved, but never used: {', '.join(self.unused)}"

    def _provide_command(self) -> None:
        """Let the commands be found where the project runs from its sources, without being installed."""
        for name, module in COMMANDS.items():
            if not (Path(sys.executable).parent / name).exists():
                self.programs.mkdir(exist_ok=True)
                script = self.programs / name
                script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
                script.chmod(0o755)

    def _run_block(self, block: Block) -> None:
        markers = block.markers
        if "skip" in markers or "ci" in markers:
            return
        if "excerpt" in markers:
            check_excerpt(block.text, (ROOT / markers["excerpt"]).read_text())
            return
        if "output" in markers:
            check_output(block.text, self.output)
            return
        text = self._with_free_ports(block.text)
        self.unused = {name: line for name, line in self.unused.items() if Path(name).stem not in text}
        if "file" in markers:
            path = self.folder / markers["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if "serve" not in markers:
                self.unused[markers["file"]] = block.line
                return
        if "serve" in markers:
            self._serve(block, text)
        elif block.language == "python":
            self.source = self.source + text if "continue" in markers else text
            self.output = self._run([sys.executable, str(self._write("block.py", self.source))])
        elif block.language == "pycon":
            self._run([sys.executable, "-m", "doctest", "-o", "ELLIPSIS", str(self._write("block.txt", text))])
        elif block.language == "bash":
            self.output = self._run(["bash", "-euo", "pipefail", "-c", text])
        elif block.language == "console":
            for command in split_commands(text):
                program = shlex.split(command.line)[0]
                if program in OPTIONAL_PROGRAMS and not shutil.which(program):
                    pytest.skip(f"{self.page}:{block.line}: {program} is not installed")
                self.output = self._run(["bash", "-c", command.line])
                if command.output:
                    check_output(self._with_written_ports(command.output), self.output)

    def _serve(self, block: Block, text: str) -> None:
        shown = ""
        if block.language == "python":
            name = block.markers.get("file", "block.py")
            command = [sys.executable, str(self._write(name, text))]
        else:
            (only,) = split_commands(text)
            shown = self._with_written_ports(only.output)
            command = ["bash", "-c", f"exec {only.line}"]
        served = Served(command, self.folder, self.env, self.folder / f".output-{block.line}")
        self.served.append((block, shown, served))
        for port in sorted(set(_PORT.findall(block.text)) or {PORTS[0]}):
            served.wait_for(self.ports[port])
            if path := block.markers["serve"]:
                check_get(self.ports[port], path)
        if ANNOUNCED in shown:
            served.wait_for_text(ANNOUNCED)

    def _stop(self, block: Block, shown: str, served: Served) -> str:
        """Stop a server and hold what it printed against the page. Return what is wrong, or nothing."""
        try:
            served.stop()
            if shown:
                # The log is another stream, and may come first.
                check_output(f"...\n{shown}...\n", self._with_written_ports(served.text()))
        except AssertionError as exc:
            return f"{self.page}:{block.line}: {exc}"
        return ""

    def _run(self, command: list[str]) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            AssertionError: It failed, or did not end in time.
        """
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=BLOCK_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"not done after {BLOCK_TIMEOUT} s\n{output}") from None
        assert process.returncode == 0, f"exit code {process.returncode}\n{output}"
        return self._with_written_ports(output)

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def _with_free_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self.ports[match[0]]), text)

    def _with_written_ports(self, text: str) -> str:
        for written, free in self.ports.items():
            text = re.sub(rf"(?<!\d){free}(?!\d)", written, text)
        return text


def reserve_port() -> int:
    """Return a port that nobody is given for the next minute, but that can be listened on with SO_REUSEADDR.

    A connection whose server closed it first leaves the port in TIME_WAIT: the system then hands it to nobody
    who asks for any free port.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            connection, _ = listener.accept()
            connection.close()
            client.recv(1)
    return port


def split_commands(text: str) -> list[Command]:
    r"""Return the commands of a console block: lines after ``$ ``, with those that a ``\`` continues."""
    commands: list[Command] = []
    continues = False
    for line in text.splitlines():
        if continues:
            commands[-1] = Command(f"{commands[-1].line}\n{line.removeprefix('> ')}", "")
        elif line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ "), ""))
        else:
            assert commands, f"a console block begins with '$ ', not with {line!r}"
            commands[-1] = Command(commands[-1].line, f"{commands[-1].output}{line}\n")
            continue
        continues = line.endswith("\\")
    return commands


def check_output(expected: str, actual: str) -> None:
    """Hold an output against what the page shows, where ``...`` stands for anything, also for any number of lines.

    Raises:
        AssertionError: They differ.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.rstrip().split("..."))) + r"[ \t]*\n"
        for line in expected.strip("\n").splitlines()
    )
    assert re.fullmatch(pattern, actual.strip("\n") + "\n"), f"shows\n{expected}\nwhere this is printed\n{actual}"


def check_excerpt(excerpt: str, source: str) -> None:
    """Look for the excerpt's lines in a source, in their order, whatever their indentation; ``...`` leaves lines out.

    Raises:
        AssertionError: A line is not there, or not next to the one before it.
    """
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    wanted = [line.strip() for line in excerpt.splitlines() if line.strip()]
    start = 0
    for runs_on, group in itertools.groupby(wanted, lambda line: line != "..."):
        run = list(group)
        if runs_on:
            places = range(start, len(lines) - len(run) + 1)
            place = next((place for place in places if lines[place : place + len(run)] == run), None)
            assert place is not None, "not in the source, in this order:\n" + "\n".join(run)
            start = place + len(run)


def check_get(port: int, path: str) -> None:
    """Ask for a path and expect 200.

    Raises:
        AssertionError: Another status came.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    finally:
        connection.close()
    assert status == 200, f"GET {path} answered {status}"
