"""What a master knows of each worker. Sends signals, and reads what the worker says; decides nothing.

A worker speaks over a socket pair, one JSON array a line: what, and a text.

- ``ready``: it accepts connections.
- ``failed``: it could not start. The text says why.
- ``retire``: it wants to be replaced. The text says why; it serves on.
- ``leaving``: it has begun to stop by itself. The text is what its application has raised to that end, or empty.
- ``changed``: a file has changed, under ``--reload``. The text is its name.

The end of the stream, in either direction, says that the other process is gone.
"""

from __future__ import annotations

import enum
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

from greenserve._originals import monotonic
from greenserve.net.sockets import socketpair
from greenserve.supervisor.pulse import Pulse

__all__ = ["State", "Worker", "describe_exit", "encode_message"]

_NEVER = float("inf")

# Of the traceback of an application that can't be imported. It has to fit into the socket's buffer at once.
_MAX_TEXT = 32768


class State(enum.Enum):
    """Where in its life a worker is."""

    BOOTING = "booting"  # it loads the application
    READY = "ready"  # it accepts connections
    LEAVING = "leaving"  # it has been told to stop, or has begun to by itself


class Worker:
    """One worker process, as its master sees it.

    Attributes:
        number: Which of the places it has, counted from 0. Its replacement has the same.
        age: How many workers the master had forked with it: one more for each. gunicorn's name.
        generation: How many reloads there had been.
        pid: Its process; 0 before the fork.
        state: See `State`.
        started: When it was forked, in monotonic seconds.
        ready_at: When it was ready, or infinity.
        retiring: Why it is to be replaced, or None.
        failure: What it said when it could not start, or None.
        kill_at: When it is killed if it still runs, in monotonic seconds.
        was_killed: The master has killed it.
        pulse: What it shows of itself again and again.
        channel: The master's end of the socket pair.
    """

    __slots__ = (
        "age",
        "channel",
        "failure",
        "generation",
        "kill_at",
        "number",
        "other_end",
        "pid",
        "pulse",
        "ready_at",
        "retiring",
        "started",
        "state",
        "was_killed",
    )

    def __init__(self, number: int, age: int, generation: int) -> None:
        self.number = number
        self.age = age
        self.generation = generation
        self.pid = 0
        self.state = State.BOOTING
        self.started = monotonic()
        self.ready_at = _NEVER
        self.retiring: str | None = None
        self.failure: str | None = None
        self.kill_at = _NEVER
        self.was_killed = False
        self.pulse = Pulse()
        self.channel, self.other_end = socketpair()

    def __str__(self) -> str:
        return f"worker {self.number + 1} (process {self.pid})"

    def messages(self) -> Iterator[tuple[str, str]]:
        """Yield what it says, until its end of the socket pair is closed. May switch."""
        with suppress(OSError), self.channel.makefile("rb") as lines:
            for line in lines:
                what, text = json.loads(line)
                yield what, text

    def silent_for(self, now: float) -> float:
        """Return for how many seconds its hub has not run. 0 until it is ready."""
        return now - max(self.ready_at, self.pulse.read().at) if self.ready_at < now else 0.0

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def stop(self, number: int, kill_at: float) -> None:
        """Tell it by a signal to stop, and have it killed at ``kill_at`` at the latest."""
        self.state = State.LEAVING
        self.kill_at = min(self.kill_at, kill_at)
        self.send(number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.was_killed = True
        self.kill_at = _NEVER
        self.send(signal.SIGKILL)

    def abandon(self) -> None:
        """Give back all that was made for it, since it was not forked."""
        self.other_end.close()
        self.forget()

    def forget(self) -> None:
        """Give back what the master holds of it, once it has been reaped."""
        self.channel.close()
        self.pulse.close()


def encode_message(what: str, text: str = "") -> bytes:
    """Return a line for the socket pair."""
    return json.dumps([what, text[:_MAX_TEXT]]).encode() + b"\n"


def describe_exit(status: int) -> str:
    """Return what a wait status means: ``ended with status 1``, ``was killed by SIGSEGV``."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    return f"was killed by {name}"
