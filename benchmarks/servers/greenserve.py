"""greenserve. As many connections at once as the limit of open files has room for; by default it is 10,000."""

from __future__ import annotations

import greenserve
import greenserve.wsgi
from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str, certfile: str | None) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    greenserve.wsgi.server(
        listener,
        apps.load(app, greenserve.sleep),
        log_output=False,
        max_size=program.most_connections(),
        certfile=certfile,
    )


if __name__ == "__main__":
    program.run_with_tls(serve)
