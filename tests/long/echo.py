"""A WebSocket echo server for the long tests: listens on a free port, prints it, and serves until it is stopped."""

from __future__ import annotations

import signal
import sys

import greenserve
from greenserve import wsgi
from greenserve.websocket import WebSocket, websocket


@websocket(compression=True)
def echo(ws: WebSocket) -> None:
    for message in ws:
        ws.send(message)


def main() -> None:
    # An exception where the main green thread waits, so that the interpreter ends as usual.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    listener = greenserve.listen(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    wsgi.server(listener, echo, log_output=False)


if __name__ == "__main__":
    main()
