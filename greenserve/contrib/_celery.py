"""Celery's tasks in green threads. Knows no brokers, nor how tasks are found; `greenserve.contrib.celery` leads here.

Facts this rests on (Celery 5.3 to 5.7):

- The worker hands over a task by `TaskPool.on_apply`, in the main greenlet, which reads from the broker too. It bounds
  how many tasks it takes ahead by itself.
- ``accept_callback`` gets a number for the process that runs the task; to revoke it the worker gives that number back.
- The worker stores the state of a task that it has revoked, and in ``timeout_callback`` that of one that took too long.
- ``kombu.utils.functional`` is loaded before the pool is asked for. Its ``sleep``, taken from ``time``, is how the
  worker waits for a broker that has gone.

What this means for us: a task waits for a place in a green thread of its own, so that the worker never waits; and one
that is killed tells nobody anything. And that one name is written anew.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.concurrency import base
from celery.exceptions import SoftTimeLimitExceeded
from greenlet import GreenletExit
from kombu.asynchronous import timer
from kombu.utils import functional

from greenserve.core.greenthreads import GreenThread, spawn, spawn_after, spawn_n
from greenserve.core.waiters import WaitQueue
from greenserve.sync.semaphores import Slots

__all__ = ["TaskPool", "Timer"]

functional.sleep = time.sleep  # type: ignore[attr-defined]  # kombu has not taken it to be found here


class DueEntry(timer.Entry):
    """A call that is due at some time. To cancel it frees what waited for that."""

    __slots__ = ("thread",)

    def __init__(self, fun: Callable[..., Any], args: Any = None, kwargs: Any = None) -> None:
        super().__init__(fun, args, kwargs)
        self.thread: GreenThread[None] | None = None

    def cancel(self) -> None:
        super().cancel()
        if self.thread is not None:
            self.thread.cancel()


class Timer(timer.Timer):
    """Calls entries when they are due, each in a green thread."""

    Entry = DueEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due: dict[DueEntry, Any] = {}  # those that wait, as `inspect scheduled` shows them

    def _enter(self, eta: float, priority: int, entry: DueEntry, push: Any = None) -> DueEntry:
        entry.thread = spawn_after(max(0.0, eta - monotonic()), self._fire, entry)
        self._due[entry] = timer.scheduled(eta, priority, entry)
        entry.thread.link(self._forget, entry, entry.thread)
        return entry

    def _fire(self, entry: DueEntry) -> None:
        self._due.pop(entry, None)  # first: it may enter itself again
        if not entry.canceled:
            self.apply_entry(entry)

    def _forget(self, ended: GreenThread[None], entry: DueEntry, thread: GreenThread[None]) -> None:
        if entry.thread is thread:
            self._due.pop(entry, None)

    def clear(self) -> None:
        for entry in list(self._due):
            entry.cancel()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def queue(self) -> list[Any]:
        return sorted(self._due.values())


class _TooLong(GreenletExit):
    """Ends a task that has gone over its hard limit."""


class TaskPool(base.BasePool):
    """Runs tasks in green threads, at most ``limit`` at a time."""

    Timer = Timer
    signal_safe = False  # to wait for tasks, in a signal handler, would be to wait for ever
    is_green = True
    task_join_will_block = False

    # What runs beside the tasks, such as the worker's remote control.
    spawn_n = staticmethod(spawn_n)

    def on_start(self) -> None:
        self._slots = Slots(self.limit)
        self._numbers = itertools.count(1)
        self._tasks: dict[int, GreenThread[None]] = {}  # by the number that the worker knows each by
        self._idle = WaitQueue()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Callable[[Any], Any] | None = None,
        accept_callback: Callable[[int, float], Any] | None = None,
        timeout_callback: Callable[[bool, float], Any] | None = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Run ``target``, once there is a place for it. Returns at once."""
        number = next(self._numbers)
        hard = timeout or self.options.get("timeout")
        soft = soft_timeout or self.options.get("soft_timeout")

        limits: list[GreenThread[None]] = []

        def lift_limits() -> None:
            for limit in limits:
                limit.cancel()

        def end(result: Any) -> None:
            lift_limits()
            if callback is not None:
                callback(result)

        def run() -> None:
            with self._slots:
                if soft:
                    limits.append(spawn_after(soft, _soften, thread, soft, timeout_callback))
                if hard:
                    limits.append(spawn_after(hard, thread.kill, _TooLong))
                try:
                    base.apply_target(target, args, kwargs, end, accept_callback, number, propagate=(GreenletExit,))
                except _TooLong:
                    if timeout_callback is not None:
                        timeout_callback(False, hard)
                except GreenletExit:
                    pass  # revoked, or the worker ends: whoever ended it says so
                finally:
                    lift_limits()

        thread = self._tasks[number] = spawn(run)
        thread.link(self._forget, number)

    def _forget(self, ended: GreenThread[None], number: int) -> None:
        del self._tasks[number]
        if not self._tasks:
            self._idle.wake_all()

    def on_stop(self) -> None:
        """Wait until all tasks have ended. May switch."""
        while self._tasks:
            self._idle.wait()

    def on_terminate(self) -> None:
        """End all tasks, where they wait. May switch."""
        for thread in reversed(list(self._tasks.values())):  # first those that would take the places of the others
            thread.kill()

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """End the task of that number, where it waits. No effect when it has ended. May switch."""
        thread = self._tasks.get(pid)
        if thread is not None:
            thread.kill()

    def grow(self, n: int = 1) -> None:
        self.limit += n
        self._slots.resize(n)

    def shrink(self, n: int = 1) -> None:
        self.limit -= n
        self._slots.resize(-n)

    def _get_info(self) -> dict[str, Any]:
        free = max(0, self._slots.balance)
        info: dict[str, Any] = super()._get_info()
        return {**info, "free-threads": free, "running-threads": self.limit - free}


def _soften(thread: GreenThread[None], seconds: float, tell: Callable[[bool, float], Any] | None) -> None:
    if tell is not None:
        tell(True, seconds)
    thread.kill(SoftTimeLimitExceeded(seconds))
