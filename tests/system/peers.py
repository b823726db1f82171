"""Servers to compare ours with, each in a process of its own: ``python -m tests.system.peers NAME FD``.

All of them serve `app` on the listening socket with that number.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

DEADLINE = 10.0


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with what was understood, in a field that tells it whatever becomes of the body."""
    stream, body = environ["wsgi.input"], b""
    length = environ.get("CONTENT_LENGTH")
    if length:
        body = stream.read(int(length))
        if len(body) < int(length):
            raise ValueError("the body ended early")
    elif "HTTP_TRANSFER_ENCODING" in environ:
        body = stream.read()
    seen = describe(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], body)
    start_response("200 OK", [("X-Seen", seen), ("Content-Length", "0")])
    return []


def describe(method: str, path: str, query: str, body: bytes) -> str:
    """What was understood, in characters that may stand in a field."""
    what = "\0".join([method, path, query, body.decode("latin-1")])
    return f"{method} {hashlib.sha256(what.encode()).hexdigest()[:16]} {len(body)}"


def serve_gunicorn(fd: int) -> None:
    sys.argv = ["gunicorn", "-k", "gthread", "--threads", "8", "-b", f"fd://{fd}", "--log-level", "critical"]
    sys.argv += ["--keep-alive", "5", "tests.system.peers:app"]
    runpy.run_module("gunicorn", run_name="__main__")


def serve_waitress(fd: int) -> None:
    import waitress  # noqa: PLC0415 - this process is about it, the others may lack it

    waitress.serve(app, sockets=[socket.socket(fileno=fd)], threads=8, _quiet=True)


def serve_h11(fd: int) -> None:
    listener = socket.socket(fileno=fd)
    listener.setblocking(True)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=_speak_h11, args=(conn,), daemon=True).start()


def _speak_h11(conn: socket.socket) -> None:
    import h11  # noqa: PLC0415 - as above

    with conn:
        speaker = h11.Connection(h11.SERVER)
        request, body = None, b""
        while True:
            try:
                event = speaker.next_event()
            except h11.RemoteProtocolError as exc:
                conn.sendall(f"HTTP/1.1 {exc.error_status_hint} Refused\r\nConnection: close\r\n\r\n".encode())
                return
            if event is h11.NEED_DATA:
                data = conn.recv(65536)
                speaker.receive_data(data)
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                environ = _environ_of(request.method.decode(), request.target.decode("latin-1"))
                fields = [("X-Seen", describe(*environ, body)), ("Content-Length", "0")]
                conn.sendall(speaker.send(h11.Response(status_code=200, headers=fields)) or b"")
                conn.sendall(speaker.send(h11.EndOfMessage()) or b"")
                if speaker.our_state is h11.MUST_CLOSE or speaker.their_state is h11.CLOSED:
                    return
                if speaker.our_state is h11.DONE and speaker.their_state is h11.DONE:
                    speaker.start_next_cycle()
            else:  # the connection is closed, or another protocol was asked for
                return


def _environ_of(method: str, target: str) -> tuple[str, str, str]:
    """What `app` is told of a target, for a peer that knows no WSGI."""
    path, _, query = target.partition("?")
    for scheme in ("http://", "https://"):
        if path.startswith(scheme):
            path = "/" + path.removeprefix(scheme).partition("/")[2]
    return method, _unquote(path), query


def _unquote(path: str) -> str:
    first, *parts = path.split("%")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in parts)


PEERS: dict[str, Callable[[int], None]] = {"gunicorn": serve_gunicorn, "waitress": serve_waitress, "h11": serve_h11}

INSTALLED = [name for name in PEERS if importlib.util.find_spec(name) is not None]


@contextmanager
def peer(name: str) -> Iterator[Any]:
    """Run a peer, and give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        fd = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.peers", name, str(fd)],
            cwd=ROOT,
            pass_fds=[fd],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield listener.getsockname()
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


if __name__ == "__main__":
    PEERS[sys.argv[1]](int(sys.argv[2]))
