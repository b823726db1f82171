"""The floor in Python: an epoll loop that answers whatever ends a head with the bytes of ``hello``, and parses nothing.

Nothing written in Python on one thread can answer with less work, as each request takes its recv, its send and its
share of an epoll_wait.
"""

from __future__ import annotations

import select
import socket

from benchmarks.apps import hello
from benchmarks.servers import program

_ANSWER = (
    f"HTTP/1.1 200 OK\r\nContent-Type: {hello.CONTENT_TYPE}\r\nContent-Length: {len(hello.BODY)}\r\n\r\n".encode()
    + hello.BODY
)


def serve(host: str, port: int, app: str) -> None:
    listener = socket.create_server((host, port), backlog=program.BACKLOG)
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                conn, _ = listener.accept()
                conn.setblocking(False)
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[conn.fileno()] = conn
                epoll.register(conn.fileno(), select.EPOLLIN)
                continue
            conn = connections[fd]
            try:
                data = conn.recv(8192)
            except ConnectionResetError:
                data = b""
            # The load sends no second request before the first is answered, and each head comes in one segment.
            if data.endswith(b"\r\n\r\n"):
                conn.send(_ANSWER)
            elif not data:
                epoll.unregister(fd)
                del connections[fd]
                conn.close()


if __name__ == "__main__":
    program.run(serve)
