"""A board's figures as text that Prometheus reads. Knows the format, and nobody who asks for it.

Written here, and not by Prometheus's own library: that would be one more package for twenty lines, loaded in the master
before the workers patch, and its locks with it.

Names are those that Prometheus recommends: base units, ``_total`` on what only grows. A worker is named by its slot,
which its successor gets too, and not by its process, of which there would be ever more.

Source: the text-based exposition format, version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from greenserve._version import __version__
from greenserve.metrics.board import Figures, State
from greenserve.metrics.totals import Totals, total_of
from greenserve.wsgi.meter import BOUNDS

__all__ = ["CONTENT_TYPE", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Name, the figure, and what it is.
_PER_WORKER = (
    ("hub_lag_seconds", "lag", "The longest that the hub came late in the last second"),
    ("green_threads", "green_threads", "Green threads that run or are kept"),
    ("thread_pool_busy", "pool_busy", "Native threads of the pool that make a call"),
    ("thread_pool_size", "pool_size", "How many native threads the pool may have"),
    ("thread_pool_waiting", "pool_waiting", "Calls that wait for a native thread"),
    ("backlog", "backlog", "Connections that wait to be accepted, where the system tells"),
    ("worker_resident_memory_bytes", "rss", "Memory in use"),
    ("worker_start_time_seconds", "started", "When the worker started, since the epoch"),
)

_COUNTERS = (
    ("connections_accepted_total", "accepted", "Connections that were accepted"),
    ("app_failures_total", "failed", "Requests whose application raised"),
    ("request_body_bytes_total", "bytes_in", "Bytes of requests' bodies that were read"),
    ("response_body_bytes_total", "bytes_out", "Bytes of answers' bodies that were sent"),
    ("hub_blocked_seconds_total", "blocked_seconds", "How late the hubs came, when it was more than a moment"),
    ("log_lines_dropped_total", "log_dropped", "Lines of the logs that were dropped"),
    ("worker_cpu_seconds_total", "cpu_seconds", "CPU time that the workers took"),
)

_CONNECTIONS = {"idle": "idle", "head": "reading", "running": "running", "closing": "closing", "taken": "taken_over"}

Sample = tuple[str, float]


def render(slots: Mapping[int, Figures], ended: Mapping[str, int]) -> bytes:
    """Return all figures as text.

    Args:
        slots: What a board has, by slot.
        ended: How many workers have ended for which reason.
    """
    return "".join(_lines(slots, total_of(slots.values()), ended)).encode()


def _lines(slots: Mapping[int, Figures], totals: Totals, ended: Mapping[str, int]) -> Iterator[str]:
    yield from _family("info", "gauge", "The version", [(_label("version", __version__), 1)])
    statuses = [(_label("status", str(code) if code else "none"), n) for code, n in sorted(totals.by_status.items())]
    yield from _family("requests_total", "counter", "Requests, by the answer's status", statuses)
    yield from _histogram(
        "request_duration_seconds",
        "How long requests took, from the end of the head to the end of the answer",
        totals.buckets,
        totals.counters["seconds"],
    )
    for name, counter, text in _COUNTERS:
        yield from _family(name, "counter", text, [("", totals.counters[counter])])
    in_flight = totals.gauges["running"] + totals.gauges["taken"]
    yield from _family("requests_in_flight", "gauge", "Requests whose application runs", [("", in_flight)])
    connections = [(_label("state", label), totals.gauges[gauge]) for gauge, label in _CONNECTIONS.items()]
    yield from _family("connections", "gauge", "Open connections", connections)
    workers = [(_label("state", state.name.lower()), number) for state, number in totals.workers.items()]
    yield from _family("workers", "gauge", "Worker processes", workers)
    reasons = [(_label("reason", reason), number) for reason, number in sorted(ended.items())]
    yield from _family("worker_restarts_total", "counter", "Workers that have ended, by the reason", reasons)
    for name, gauge, text in _PER_WORKER:
        samples = [
            (_label("worker", str(index)), figures.gauges[gauge])
            for index, figures in slots.items()
            if figures.state in (State.READY, State.STOPPING) and figures.gauges[gauge] >= 0
        ]
        yield from _family(name, "gauge", text, samples)


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP greenserve_{name} {text}\n# TYPE greenserve_{name} {kind}\n"
    for labels, value in samples:
        yield f"greenserve_{name}{labels} {_number(value)}\n"


def _histogram(name: str, text: str, buckets: Iterable[float], total_seconds: float) -> Iterator[str]:
    yield from _family(name, "histogram", text, [])
    below = 0.0
    for bound, count in zip([*(f"{bound:g}" for bound in BOUNDS), "+Inf"], buckets):
        below += count
        yield f"greenserve_{name}_bucket{_label('le', bound)} {_number(below)}\n"
    yield f"greenserve_{name}_sum {_number(total_seconds)}\ngreenserve_{name}_count {_number(below)}\n"


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'{{{name}="{escaped}"}}'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
