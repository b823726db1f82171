"""bjoern, which has no settings beside its backlog."""

from __future__ import annotations

import bjoern

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    bjoern.run(apps.load(app), host, port, listen_backlog=program.BACKLOG)


if __name__ == "__main__":
    program.run(serve)
