"""eventlet's wsgi. As many connections at once as the limit of open files has room for; by default it is 1,024."""

from __future__ import annotations

import socket

import eventlet
import eventlet.wsgi

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str, certfile: str | None) -> None:
    listener = eventlet.listen((host, port), backlog=program.BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if certfile is not None:
        listener = eventlet.wrap_ssl(listener, certfile=certfile, keyfile=certfile, server_side=True)
    eventlet.wsgi.server(
        listener, apps.load(app, eventlet.sleep), log_output=False, debug=False, max_size=program.most_connections()
    )


if __name__ == "__main__":
    program.run_with_tls(serve)
