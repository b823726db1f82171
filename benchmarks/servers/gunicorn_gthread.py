"""gunicorn with its thread worker."""

from __future__ import annotations

from benchmarks.servers import gunicorn, program


def serve(host: str, port: int, app: str) -> None:
    gunicorn.serve(host, port, app, worker_class="gthread", threads=16)


if __name__ == "__main__":
    program.run(serve)
