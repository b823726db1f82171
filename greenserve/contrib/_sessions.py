"""What every Socket.IO server gets that we know of: sessions that say whose they are, and that end with their worker.

Facts this rests on (python-engineio 4.0 to 4.15, and the clients for Python and for browsers):

- ``generate_id`` makes a session's id, 20 characters of base64 for URLs. A client sends it back as it came.
- A client that polls, and is told that its session is unknown, connects anew by itself. One that is told that the
  session was closed may not: python-socketio's takes that for the server's wish.
- A packet NOOP ends a poll and says nothing else. A session that is closed with ``abort`` sends nothing, and tells the
  application's handlers.

What this means for us: in a worker the place's number stands behind the id, so that any worker knows where a request
belongs, cookie or not. And when the server stops, whoever polls is sent away with a NOOP, comes again, and finds the
session unknown at the worker that has taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import engineio
from engineio.packet import NOOP, Packet

from greenserve._bus.place import numbered

__all__ = ["look_after"]

# Where a request says to which session it belongs.
_SESSION = re.compile(r"(?:^|&)sid=([^&]+)")

_MARK = "_greenserve_looks_after_it"


def look_after(eio: engineio.Server) -> None:
    """Number the sessions of ``eio``, and end them when the server that it is asked by stops. Once is enough."""
    if hasattr(eio, _MARK):
        return
    setattr(eio, _MARK, True)
    eio.generate_id = partial(_numbered, eio.generate_id)
    eio.handle_request = partial(_ending, eio, eio.handle_request)
    if (connect := eio.handlers.get("connect")) is not None:
        eio.on("connect", partial(_connecting, eio, connect))


def _numbered(generate_id: Callable[[], str]) -> str:
    return numbered(generate_id())


def _ending(eio: engineio.Server, handle: Callable[..., Any], environ: dict[str, Any], start_response: Any) -> Any:
    if match := _SESSION.search(environ.get("QUERY_STRING", "")):
        _end_with_server(eio, match[1], environ)
    return handle(environ, start_response)


def _connecting(eio: engineio.Server, connect: Callable[..., Any], sid: str, environ: dict[str, Any]) -> Any:
    # A WebSocket without a poll before it: this one request is the whole session.
    _end_with_server(eio, sid, environ)
    return connect(sid, environ)


def _end_with_server(eio: engineio.Server, sid: str, environ: dict[str, Any]) -> None:
    on_stop = environ.get("greenserve.on_stop")
    if on_stop is not None:  # another server has none
        on_stop(partial(_end, eio, sid))


def _end(eio: engineio.Server, sid: str) -> None:
    """End a session, if there is one. In a green thread of its own: the application's handlers may wait."""
    session = eio.sockets.get(sid)
    if session is not None and not session.closing and not session.closed:
        session.queue.put(Packet(NOOP))
        session.close(wait=False, abort=True)
