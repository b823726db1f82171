"""cheroot, with its default of ten threads. It keeps ten idle connections by default: here, all of them."""

from __future__ import annotations

import cheroot.wsgi

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    server = cheroot.wsgi.Server((host, port), apps.load(app), request_queue_size=program.BACKLOG, timeout=75)
    server.keep_alive_conn_limit = 10_000
    server.start()


if __name__ == "__main__":
    program.run(serve)
