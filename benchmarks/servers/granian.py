"""granian: HTTP/1.1 only, one worker, one thread for the runtime and one for the app."""

from __future__ import annotations

import granian
from granian.constants import HTTPModes, Interfaces

from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    granian.Granian(
        f"benchmarks.apps.{app}:make",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        websockets=False,
        workers=1,
        runtime_threads=1,
        blocking_threads=1,
        backlog=program.BACKLOG,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    program.run(serve)
