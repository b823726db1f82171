"""gevent's pywsgi. TCP_NODELAY is set on the listener, from which accepted sockets inherit it."""

from __future__ import annotations

import socket

import gevent
import gevent.pywsgi
import gevent.socket
import gevent.ssl

from benchmarks import apps
from benchmarks.servers import program


def serve(host: str, port: int, app: str, certfile: str | None) -> None:
    listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    listener.listen(program.BACKLOG)
    tls = {}
    if certfile is not None:
        context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile)
        tls = {"ssl_context": context}
    gevent.pywsgi.WSGIServer(listener, apps.load(app, gevent.sleep), log=None, **tls).serve_forever()


if __name__ == "__main__":
    program.run_with_tls(serve)
