"""eventlet's WebSocket on its wsgi. As many connections at once as the limit of open files has room for."""

from __future__ import annotations

import socket
from typing import Any

import eventlet
import eventlet.websocket
import eventlet.wsgi

from benchmarks.servers import program

everybody: set[Any] = set()


@eventlet.websocket.WebSocketWSGI
def handle(ws: Any) -> None:
    everybody.add(ws)
    try:
        while (message := ws.wait()) is not None:
            for each in list(everybody) if message[:1] == "!" else (ws,):
                each.send(message)
    finally:
        everybody.discard(ws)


def serve(host: str, port: int, app: str) -> None:
    listener = eventlet.listen((host, port), backlog=program.BACKLOG)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    eventlet.wsgi.server(listener, handle, log_output=False, debug=False, max_size=program.most_connections())


if __name__ == "__main__":
    program.run(serve, apps=("echo", "deflated"))
