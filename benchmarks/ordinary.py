"""The ordinary user whose requests are timed beside a load. What it does is in ``benchmarks.clients.probe``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.processes import LoadProgram

__all__ = ["Ordinary", "OrdinaryUser"]

# Its last request may take as long as it waits for any.
_REPORT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Ordinary:
    """What became of ordinary requests: the times of those answered, in milliseconds, and the number of the others."""

    kept_ms: list[float]
    new_ms: list[float]
    failed: int


class OrdinaryUser(LoadProgram):
    """The client program, with connections open from the beginning, so that a load that comes later finds it there."""

    def __init__(self, port: int, kinds: Sequence[str] = ("kept", "new")) -> None:
        super().__init__("benchmarks.clients.probe", port, *kinds)

    def start(self) -> None:
        """Begin to make requests."""
        self.wait_report(_REPORT_TIMEOUT)
        self.tell("start")

    def stop(self) -> Ordinary:
        """Make no more requests, and return how they went."""
        self.tell("stop")
        report = self.wait_report(_REPORT_TIMEOUT)
        return Ordinary(report["milliseconds"]["kept"], report["milliseconds"]["new"], sum(report["failed"].values()))
