"""What is made of a worker's end: how it came about, and when its place is filled again. Starts and ends nobody.

Whether the first start has failed is not known before each place has tried once: an application may fail in one worker
only. Until a worker has served, failures are therefore kept back, and no place is filled again.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

from greenserve.supervisor.memory import count_oom_kills
from greenserve.supervisor.workers import State, Worker, describe_exit

__all__ = ["Deaths"]

log = logging.getLogger("greenserve.supervisor")

# A worker that dies within this time after it was ready, in seconds, is no better than one that does not start.
_TOO_SHORT = 1.0

# How long a place stays empty after a failed start, in seconds: the first time, and at most. In between it doubles.
# After the early death of a worker that had started it is a quarter of that, and the first time nothing.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class _Failures:
    """How often in a row a worker at one place could not start, and until when that place stays empty."""

    __slots__ = ("count", "not_before")

    def __init__(self) -> None:
        self.count = 0
        self.not_before = 0.0

    def add(self, now: float, has_started: bool) -> float:
        """Note one more, and return for how many seconds the place stays empty."""
        pause: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.count, 10))
        if has_started:
            pause = pause / 4 if self.count else 0.0
        self.count += 1
        self.not_before = now + pause
        return pause


class Deaths:
    """The ends of one master's workers.

    Attributes:
        error: Why no worker could start, once that is known.
    """

    def __init__(self) -> None:
        self.error: str | None = None
        self._has_served = False
        self._held: list[str] = []  # what is told once a worker has served
        self._failures: dict[int, _Failures] = {}
        self._oom_kills = count_oom_kills()

    def may_start(self, number: int, now: float) -> bool:
        """Whether the place of this number may be filled."""
        failures = self._failures.get(number)
        return failures is None or (self._has_served and now >= failures.not_before)

    def next_starts(self, now: float) -> Iterator[float]:
        """Yield when places that stay empty for a while may be filled again, in monotonic seconds."""
        return (failures.not_before for failures in self._failures.values() if failures.not_before > now)

    def note_failed_fork(self, number: int, now: float) -> float:
        """Note that the place can't be filled, and return after how many seconds to try again."""
        self._has_served = True  # it is not the application's failure: there is no use in waiting for other places
        return self._failures.setdefault(number, _Failures()).add(now, has_started=False)

    def note_ready(self) -> None:
        """A worker is ready: if others failed before it, that was not the first start's failure."""
        self._has_served = True
        for line in self._held:
            log.error("%s", line)
        self._held.clear()

    def forget_failures(self) -> None:
        """Fill all places at once: there may be a better application."""
        self._failures.clear()

    def note_exit(self, worker: Worker, raised: str, now: float) -> None:
        """Note that the application ends its worker by what it ``raised``: that leaves, and its place is filled."""
        worker.retiring = worker.retiring or f"ended by the application: {raised}"
        pause = self._pause_after(worker, now)
        log.warning(
            "%s leaves, since the application ends it by %s\nIts place is filled again%s", worker, raised, _in(pause)
        )

    def note(self, worker: Worker, status: int, now: float, has_others: bool) -> str:
        """Note that a worker has ended, and return why.

        That is one of a few, to be counted by: ``died``, ``blocked``, ``killed for memory``, what retired it, …

        Args:
            status: What it ended with, as ``waitpid`` tells it.
            has_others: There are other workers, in whatever state.
        """
        if worker.state is State.LEAVING:
            # What stands behind a colon is different each time.
            why = (worker.retiring or "stopped").partition(":")[0]
            log.info("%s %s", worker, "is gone" if status == 0 else describe_exit(status))
            return why
        return self._note_sudden(worker, status, now, has_others)

    def _note_sudden(self, worker: Worker, status: int, now: float, has_others: bool) -> str:
        why, how = self._explain(worker, status)
        pause = self._pause_after(worker, now)
        if self._has_served:
            log.error("%s %s\nIts place is filled again%s", worker, how, _in(pause))
        elif has_others:
            self._held.append(f"{worker} {how}")
        else:
            self.error = worker.failure or f"{worker} {how}"
        return why

    def _pause_after(self, worker: Worker, now: float) -> float:
        """Return for how many seconds the place of a worker that ends by itself stays empty, and see to it."""
        if now - worker.ready_at >= _TOO_SHORT:
            self._failures.pop(worker.number, None)
            return 0.0
        has_started = worker.state is not State.BOOTING
        return self._failures.setdefault(worker.number, _Failures()).add(now, has_started)

    def _explain(self, worker: Worker, status: int) -> tuple[str, str]:
        """Return why it has ended, in one word or two, and how, in a sentence."""
        if worker.failure is not None:
            return "failed to start", f"could not start: {worker.failure}"
        why, how = "died", describe_exit(status)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            why, how = self._explain_kill(worker)
        return ("failed to start", f"{how} while it started") if worker.state is State.BOOTING else (why, how)

    def _explain_kill(self, worker: Worker) -> tuple[str, str]:
        before, self._oom_kills = self._oom_kills, count_oom_kills()
        size = worker.pulse.read().rss
        used = f" (it used {size / (1 << 20):.0f} MiB when it last told)" if size else ""
        if before is not None and self._oom_kills is not None and self._oom_kills > before:
            return "killed for memory", f"was killed by the kernel, which was out of memory{used}"
        return (
            "killed",
            f"was killed by SIGKILL, which the master did not send: by somebody, or by the kernel for memory{used}",
        )


def _in(pause: float) -> str:
    return f" in {pause:g} s" if pause else ""
