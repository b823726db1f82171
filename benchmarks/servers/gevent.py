"""gevent's pywsgi. TCP_NODELAY is set on the listener, from which accepted sockets inherit it."""

from __future__ import annotations

import socket

import gevent
import gevent.pywsgi
import gevent.socket

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str) -> None:
    listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.listen(program.BACKLOG)
    gevent.pywsgi.WSGIServer(listener, apps.load(app, gevent.sleep), log=None).serve_forever()


if __name__ == "__main__":
    program.run(serve)
