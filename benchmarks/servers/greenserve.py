"""greenserve."""

from __future__ import annotations

import greenserve
import greenserve.wsgi
from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    greenserve.wsgi.server(listener, apps.load(app, greenserve.sleep), log_output=False)


if __name__ == "__main__":
    program.run(serve)
