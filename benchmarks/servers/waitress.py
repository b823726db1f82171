"""waitress, with its default of four threads."""

from __future__ import annotations

import logging

import waitress

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    # A warning for each request that waits for a thread would be measured too.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    waitress.serve(apps.load(app), host=host, port=port, backlog=program.BACKLOG, connection_limit=10_000, _quiet=True)


if __name__ == "__main__":
    program.run(serve)
