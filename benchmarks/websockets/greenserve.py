"""greenserve. As many connections at once as the limit of open files has room for; by default it is 10,000."""

from __future__ import annotations

import greenserve
import greenserve.wsgi
from benchmarks.servers import program
from greenserve.websocket import WebSocket, WebSocketWSGI

everybody: set[WebSocket] = set()


def handle(ws: WebSocket) -> None:
    everybody.add(ws)
    try:
        for message in ws:
            for each in list(everybody) if message[:1] == "!" else (ws,):
                each.send(message)
    finally:
        everybody.discard(ws)


def serve(host: str, port: int, app: str) -> None:
    listener = greenserve.listen((host, port), backlog=program.BACKLOG)
    site = WebSocketWSGI(handle, compression=app == "deflated")
    greenserve.wsgi.server(listener, site, log_output=False, max_size=program.most_connections())


if __name__ == "__main__":
    program.run(serve, apps=("echo", "deflated"))
