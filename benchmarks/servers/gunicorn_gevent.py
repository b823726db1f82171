"""gunicorn with its gevent worker, which patches the standard library."""

from __future__ import annotations

from benchmarks.servers import gunicorn, program


def serve(host: str, port: int, app: str) -> None:
    gunicorn.serve(host, port, app, worker_class="gevent", worker_connections=10_000)


if __name__ == "__main__":
    program.run(serve)
