"""``/metrics``, ``/healthz`` and ``/readyz``, as a WSGI application. Asks a board, and knows no worker.

Healthy is a server that is worth keeping: the process that answers runs, and so does at least one worker's hub, or
there is none yet. Ready is one that is worth sending requests to: a worker accepts connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from greenserve._originals import monotonic
from greenserve.metrics.board import Board, State
from greenserve.metrics.prometheus import CONTENT_TYPE, render

__all__ = ["MetricsApp"]

# A worker that has not written for so long is stuck: ten times as long as between two times.
_SILENT = 10.0


class MetricsApp:
    """The application.

    Args:
        board: The figures.
        ended: Returns how many workers have ended for which reason.
    """

    def __init__(self, board: Board, ended: Callable[[], Mapping[str, int]]) -> None:
        self._board = board
        self._ended = ended

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        content_type = "text/plain; charset=utf-8"
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"GET or HEAD\n"
        elif path == "/healthz":
            status, body = _answer(self.is_healthy(), "no worker has run for a while")
        elif path == "/readyz":
            status, body = _answer(self.is_ready(), "no worker accepts connections")
        elif path != "/metrics":
            status, body = "404 Not Found", b"/metrics, /healthz or /readyz\n"
        else:
            status, content_type, body = "200 OK", CONTENT_TYPE, render(self._board.read(), self._ended())
        fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status.startswith("405"):
            fields.append(("Allow", "GET, HEAD"))
        start_response(status, fields)
        return [body]

    def is_healthy(self) -> bool:
        """Whether a worker's hub runs, or none is there yet."""
        now = monotonic()
        workers = [figures for figures in self._board.read().values() if figures.state is not State.FREE]
        return not workers or any(
            figures.state is State.STARTING or now - figures.gauges["published"] < _SILENT for figures in workers
        )

    def is_ready(self) -> bool:
        """Whether a worker accepts connections, and answers."""
        now = monotonic()
        return any(
            figures.state is State.READY and now - figures.gauges["published"] < _SILENT
            for figures in self._board.read().values()
        )


def _answer(is_right: bool, why_not: str) -> tuple[str, bytes]:
    return ("200 OK", b"ok\n") if is_right else ("503 Service Unavailable", f"{why_not}\n".encode())
