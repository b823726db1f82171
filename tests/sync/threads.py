"""Two kinds of OS threads to share a primitive with, and ways to wait for them that let the hub of this thread run.

A native thread has no hub: what it waits for, it waits for in the operating system. A hub thread runs the function in a
green thread of a hub of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

import greenserve
from greenserve import sleep, spawn

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 10.0


def let_run(rounds: int = 5) -> None:
    """Give every green thread that is ready its turn, a few times over."""
    for _ in range(rounds):
        sleep(0)


def until(condition: Callable[[], object]) -> None:
    """Let green threads and OS threads run until ``condition()`` is true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        sleep(0)
        time.sleep(0)  # gives the GIL away


class OSThread(Generic[T]):
    """Runs ``function`` in an OS thread, and keeps what comes of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as exc:
            self._error = exc

    def _call(self) -> T:
        return self._function()

    def wait(self) -> T:
        """Return what the function returned, or raise what it raised. Lets this thread's hub run meanwhile."""
        until(lambda: not self._thread.is_alive())
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


class HubThread(OSThread[T]):
    """Runs ``function`` in a green thread of another OS thread's hub."""

    def _call(self) -> T:
        return spawn(self._function).wait()


in_another_os_thread = pytest.mark.parametrize("os_thread", [OSThread, HubThread])
in_any_thread = pytest.mark.parametrize("start", [spawn, OSThread, HubThread])


@contextmanager
def frequent_thread_switches() -> Iterator[None]:
    """Let OS threads interrupt each other nearly everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run_in_new_process(script: str) -> str:
    """Return what ``script`` prints. For what concerns a whole process: signals, forks, deadlocks."""
    path = Path(greenserve.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env={"PYTHONPATH": str(path)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Countdown:
    """Ends a stress test after a while, from within any thread: ``while clock.running: ...``."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    @property
    def running(self) -> bool:
        return time.monotonic() < self._deadline


def started(threads: list[Any]) -> list[Any]:
    """The results of all ``threads``, once they have ended."""
    return [thread.wait() for thread in threads]
