"""Programs that a benchmark starts: pinned to a core, measured from outside, and stopped with all their descendants.

Knows nothing of what the programs do.

Facts: the CPU-time clock of another process is readable by anybody (clock_getcpuclockid(3)). It is the sum of user
and system time that ``/proc/PID/stat`` gives in ticks of 10 ms, in nanoseconds, with the threads that have ended. So
a short run has no rounding error.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from benchmarks.errors import BenchmarkError
from benchmarks.machine import LOAD_CORE, ROOT

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LoadProgram", "Memory", "cpu_seconds", "memory_of", "run_pinned", "start_pinned", "stop_group", "tree_of"]

STOP_TIMEOUT = 5.0
_CPUCLOCK_SCHED = 2  # linux/posix-timers.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Memory:
    """Memory of a process tree, in bytes: resident (shared pages counted in each process), and private and dirty."""

    resident: int
    private: int


def start_pinned(
    command: Sequence[str], core: int, *, files: int | None = None, **streams: Any
) -> subprocess.Popen[bytes]:
    """Start ``command`` on one core, in a process group of its own, with this checkout importable.

    Args:
        command: The program and its arguments.
        core: The only core that it and its descendants may run on.
        files: Its limit of open files (soft and hard), where it needs one.
        streams: ``stdin``, ``stdout`` and ``stderr`` as subprocess.Popen takes them.
    """
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    # The affinity must be there before the program makes its first thread; a change from here would come too late for
    # some.
    return subprocess.Popen(
        command, env=environ, start_new_session=True, preexec_fn=functools.partial(_prepare, core, files), **streams
    )


def run_pinned(command: Sequence[str], core: int, timeout: float) -> str:
    """Run ``command`` on one core to its end and return what it printed.

    Raises:
        BenchmarkError: It failed, or took more than ``timeout`` seconds.
    """
    process = start_pinned(command, core, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise BenchmarkError(f"{command} did not end within {timeout:.0f} s") from None
        finally:
            process.kill()
    if process.returncode:
        raise BenchmarkError(f"{command} failed: {errors.decode('utf-8', 'replace').strip()[-1000:]}")
    return output.decode()


def _prepare(core: int, files: int | None) -> None:
    os.sched_setaffinity(0, {core})
    # A benchmark that is killed outright cannot stop what it started.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then end its whole group, and reap it, in little more than ``STOP_TIMEOUT`` seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def tree_of(pid: int) -> list[int]:
    """Return ``pid`` and all its living descendants, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended between the listing and the reading
            continue
        # The command's name stands in parentheses and may itself hold spaces and parentheses.
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    tree = [pid]
    for member in tree:
        tree.extend(children.get(member, ()))
    return tree


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time, user and system, that living processes have used since they started, in seconds."""
    return sum(time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


def memory_of(pids: Iterable[int]) -> Memory:
    """Return the memory of living processes, from ``/proc/PID/smaps_rollup``."""
    resident = private = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            name, _, rest = line.partition(":")
            if name == "Rss":
                resident += int(rest.split()[0]) * 1024
            elif name == "Private_Dirty":
                private += int(rest.split()[0]) * 1024
    return Memory(resident, private)


class LoadProgram:
    """A program that makes load, on the load core, and talks in lines: we send it words, it reports JSON objects.

    Leaving the context stops it.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        self._name = module.rpartition(".")[2]
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._process = start_pinned(command, LOAD_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._unread = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            _pipe(self._process.stdin).close()
        stop_group(self._process)
        _pipe(self._process.stdout).close()

    def tell(self, word: str) -> None:
        """Send one line to the program.

        Raises:
            BenchmarkError: It has ended.
        """
        stdin = _pipe(self._process.stdin)
        try:
            stdin.write(word.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"the load program {self._name} ended early") from None

    def wait_report(self, timeout: float) -> dict[str, Any]:
        """Return the next object that the program reports.

        Raises:
            BenchmarkError: It ended, or stayed silent for ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        stdout = _pipe(self._process.stdout)
        while b"\n" not in self._unread:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([stdout], [], [], left)[0]:
                raise BenchmarkError(f"the load program {self._name} reported nothing within {timeout:.0f} s")
            block = os.read(stdout.fileno(), 65536)
            if not block:
                raise BenchmarkError(f"the load program {self._name} ended without its report")
            self._unread += block
        line, _, self._unread = self._unread.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        return report


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "started with a pipe"
    return stream
