"""gevent-websocket on gevent's pywsgi, TCP_NODELAY set on the listener."""

from __future__ import annotations

import socket
from typing import Any

import gevent.pywsgi
import gevent.socket
from geventwebsocket.handler import WebSocketHandler

from benchmarks.servers import program

everybody: set[Any] = set()


def handle(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    ws = environ["wsgi.websocket"]
    everybody.add(ws)
    try:
        while (message := ws.receive()) is not None:
            for each in list(everybody) if message[:1] == "!" else (ws,):
                each.send(message)
    finally:
        everybody.discard(ws)
    return []


def serve(host: str, port: int, app: str) -> None:
    listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.listen(program.BACKLOG)
    gevent.pywsgi.WSGIServer(listener, handle, log=None, handler_class=WebSocketHandler).serve_forever()


if __name__ == "__main__":
    program.run(serve, apps=("echo",))
