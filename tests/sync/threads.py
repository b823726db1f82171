"""Two kinds of OS threads to share a primitive with, and ways to wait for them that let the hub of this thread run.

A native thread has no hub: what it waits for, it waits for in the operating system. A hub thread runs the function in a
green thread of a hub of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest

from greenserve import sleep, spawn

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 10.0
_GIVE_WAY = 1e-5  # seconds. With 0 the GIL comes straight back, and who needs it most waits for its switch interval


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
        time.sleep(_GIVE_WAY)


def spin_until(condition: Callable[[], object]) -> None:
    """Let other OS threads run until ``condition()`` is true, and no hub of this thread."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(_GIVE_WAY)


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
        except BaseException as exc:  # noqa: BLE001 - raised by wait()
            self._error = exc

    def _call(self) -> T:
        return self._function()

    @property
    def ident(self) -> int:
        assert self._thread.ident is not None
        return self._thread.ident

    @property
    def ended(self) -> bool:
        return bool(self._result) or self._error is not None

    def wait(self) -> T:
        """Return what the function returned, or raise what it raised. Lets this thread's hub run meanwhile."""
        until(self._join_for_a_moment)
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _join_for_a_moment(self) -> bool:
        self._thread.join(0.001)
        return not self._thread.is_alive()


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
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def stress(native: Sequence[Callable[[], Any]], green: Sequence[Sequence[Callable[[], Any]]]) -> None:
    """Run all at once, with frequent switches of OS threads, until each has returned.

    Args:
        native: Each runs in an OS thread without a hub.
        green: Each lot of these runs in green threads of one hub: the last lot in this OS thread, every other one in an
            OS thread of its own.
    """

    def run_beside(functions: Sequence[Callable[[], Any]]) -> None:
        for thread in [spawn(function) for function in functions]:
            thread.wait()

    with frequent_thread_switches():
        threads: list[Any] = [OSThread(function) for function in native]
        threads += [HubThread(partial(run_beside, functions)) for functions in green[:-1]]
        threads.append(spawn(run_beside, green[-1]))
        for thread in threads:
            thread.wait()


class Countdown:
    """Ends a stress test after a while, from within any thread: ``while clock.running: ...``."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    @property
    def running(self) -> bool:
        return time.monotonic() < self._deadline
