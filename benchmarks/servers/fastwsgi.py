"""fastwsgi, with its log off."""

from __future__ import annotations

import fastwsgi

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    fastwsgi.server.backlog = program.BACKLOG
    fastwsgi.server.tcp_nodelay = 1
    fastwsgi.run(apps.load(app), host=host, port=port, loglevel=0)


if __name__ == "__main__":
    program.run(serve)
