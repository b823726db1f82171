"""greenserve with its figures gathered, as ``--metrics-bind`` has them gathered in a worker."""

from __future__ import annotations

import greenserve
from benchmarks import apps
from benchmarks.servers import program
from greenserve.metrics import Board, Observer
from greenserve.wsgi import Server


def serve(host: str, port: int, app: str) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    server = Server(listener, apps.load(app, greenserve.sleep), log_output=False, max_size=program.most_connections())
    Observer(Board(slots=1), server).start()
    server.serve_forever()


if __name__ == "__main__":
    program.run(serve)
