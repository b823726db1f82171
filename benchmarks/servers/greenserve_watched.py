"""greenserve with its figures gathered, as ``--metrics-bind`` has them gathered in a worker. SIGUSR1 ends that, and
begins it again.
"""

from __future__ import annotations

import signal

import greenserve
from benchmarks import apps
from benchmarks.servers import program
from greenserve.metrics import Board, Observer
from greenserve.wsgi import Server


class _Watching:
    """An observer for as long as it is on."""

    def __init__(self, server: Server) -> None:
        self._board = Board(slots=1)
        self._server = server
        self._observer: Observer | None = None

    def turn(self, *_: object) -> None:
        """Begin, or end."""
        if self._observer is None:
            self._observer = Observer(self._board, self._server)
            self._observer.start()
        else:
            self._observer.stop()
            self._observer = self._server.meter = None


def serve(host: str, port: int, app: str) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    server = Server(listener, apps.load(app, greenserve.sleep), log_output=False, max_size=program.most_connections())
    watching = _Watching(server)
    watching.turn()
    signal.signal(signal.SIGUSR1, watching.turn)
    server.serve_forever()


if __name__ == "__main__":
    program.run(serve)
