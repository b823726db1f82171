"""What a board's figures were over the last two minutes, as rates and percentiles. Knows no page and no server.

Workers write once a second, each in its own time. A rate is therefore taken between two writings of one worker, by
their own times, and not between two looks of ours, of which one may see two writings and the next one none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from greenserve._originals import monotonic, wall_time
from greenserve._version import __version__
from greenserve.metrics.board import Board, Figures, State
from greenserve.metrics.totals import Totals, percentile, total_of

__all__ = ["POINTS", "History"]

# How many samples are kept, one a second.
POINTS = 120

# Percentiles are those of the requests of so many seconds.
_WINDOW = 10

# A worker that has not written for so long is told to be silent, in seconds.
_SILENT = 3.0

_MAX_RUNNING = 12
_MAX_BLOCKS = 8

_RATES = ("requests", "failed", "bytes_in", "bytes_out", "cpu_seconds", "accepted")
_CONNECTIONS = ("idle", "head", "running", "closing", "taken")


class _Worker:
    """The last two writings of one worker, and how fast it counted between them."""

    __slots__ = ("figures", "rates")

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.rates = dict.fromkeys(_RATES, 0.0)

    def update(self, figures: Figures) -> None:
        before = self.figures
        seconds = figures.gauges["published"] - before.gauges["published"]
        if seconds > 0:
            self.rates = {name: max(0.0, figures.counters[name] - before.counters[name]) / seconds for name in _RATES}
            self.figures = figures


class History:
    """Samples a board: call `sample` once a second.

    Args:
        board: The figures.
        ended: Returns how many workers have ended for which reason.
        title: What is served, for the page.
    """

    def __init__(self, board: Board, ended: Callable[[], Mapping[str, int]], title: str) -> None:
        self._board = board
        self._ended = ended
        self._title = title
        self._workers: dict[tuple[int, int], _Worker] = {}  # by slot and process
        self._totals = Totals()
        self._buckets: deque[list[float]] = deque(maxlen=_WINDOW + 1)
        self._points: deque[dict[str, float | None]] = deque(maxlen=POINTS)

    def sample(self) -> None:
        """Take what the board says now."""
        slots = self._board.read()
        self._totals = totals = total_of(slots.values())
        live = {
            (index, int(figures.gauges["pid"])): figures
            for index, figures in slots.items()
            if figures.state is not State.FREE
        }
        self._workers = {key: worker for key, worker in self._workers.items() if key in live}
        now = monotonic()
        for key, figures in live.items():
            worker = self._workers.setdefault(key, _Worker(figures))
            worker.update(figures)
            if now - worker.figures.gauges["published"] > _SILENT:
                worker.rates = dict.fromkeys(_RATES, 0.0)
        self._buckets.append(totals.buckets)
        window = [now - before for now, before in zip(self._buckets[-1], self._buckets[0])]
        rates = {name: sum(worker.rates[name] for worker in self._workers.values()) for name in _RATES}
        self._points.append(
            {
                "at": round(wall_time(), 3),
                "requests": round(rates["requests"], 1),
                "failed": round(rates["failed"], 2),
                "p50": percentile(window, 0.5),
                "p90": percentile(window, 0.9),
                "p99": percentile(window, 0.99),
                "running": totals.gauges["running"] + totals.gauges["taken"],
                "connections": sum(totals.gauges[name] for name in _CONNECTIONS),
                "lag": max([totals.gauges["lag"], *(self._silence(worker) for worker in self._workers.values())]),
                "cpu": rates["cpu_seconds"],
                "rss": totals.gauges["rss"],
                "in": rates["bytes_in"],
                "out": rates["bytes_out"],
                "backlog": totals.gauges["backlog"],
            }
        )

    def _silence(self, worker: _Worker) -> float:
        """For how many seconds a worker has been silent; 0 while that may be chance."""
        if worker.figures.state is State.STARTING:
            return 0.0
        seconds = monotonic() - worker.figures.gauges["published"]
        return seconds if seconds > _SILENT else 0.0

    def state(self, with_points: bool = True) -> dict[str, Any]:
        """All there is to show, for JSON.

        Args:
            with_points: The samples of the last two minutes too; else the last one alone.
        """
        points = list(self._points)
        running = [
            {**request, "pid": pid}
            for (_, pid), worker in self._workers.items()
            for request in worker.figures.report.get("running", ())
        ]
        blocks = [
            {**block, "pid": pid}
            for (_, pid), worker in self._workers.items()
            for block in worker.figures.report.get("blocks", ())
        ]
        totals = self._totals
        return {
            "version": __version__,
            "title": self._title,
            "points": points if with_points else points[-1:],
            "statuses": _by_class(totals.by_status),
            "connections": {name: int(totals.gauges[name]) for name in _CONNECTIONS},
            "pool": {name: int(totals.gauges[f"pool_{name}"]) for name in ("busy", "size", "waiting")},
            "green_threads": int(totals.gauges["green_threads"]),
            "totals": {name: totals.counters[name] for name in ("requests", "accepted", "failed", "log_dropped")},
            "ended": dict(self._ended()),
            "workers": [self._describe(index, pid, worker) for (index, pid), worker in sorted(self._workers.items())],
            "running": sorted(running, key=lambda request: -request["seconds"])[:_MAX_RUNNING],
            "blocks": sorted(blocks, key=lambda block: -block["at"])[:_MAX_BLOCKS],
        }

    def _describe(self, index: int, pid: int, worker: _Worker) -> dict[str, Any]:
        gauges = worker.figures.gauges
        return {
            "slot": index,
            "pid": pid,
            "state": worker.figures.state.name.lower(),
            "age": round(max(0.0, wall_time() - gauges["started"]), 1),
            "rss": gauges["rss"],
            "lag": gauges["lag"],
            "silent": round(self._silence(worker), 1),
            "requests": round(worker.rates["requests"], 1),
            "cpu": worker.rates["cpu_seconds"],
            "running": int(gauges["running"] + gauges["taken"]),
            "connections": int(sum(gauges[name] for name in _CONNECTIONS)),
            "green_threads": int(gauges["green_threads"]),
        }


def _by_class(by_status: Mapping[int, int]) -> dict[str, int]:
    classes = {"2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0, "other": 0}
    for status, number in by_status.items():
        name = f"{status // 100}xx"
        classes[name if name in classes else "other"] += number
    return classes
