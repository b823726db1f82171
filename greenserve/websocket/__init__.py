"""WebSockets (RFC 6455): handlers as WSGI applications, and a client. Needs ``pip install greenserve[websocket]``.

- ``options``: what can be chosen.
- ``handshake``: an environ, and what to answer.
- ``codec``: frames as values; the one module about the package ``websockets``.
- ``heartbeat``: a look at every connection now and then.
- ``connection``: messages over a green socket.
- ``server``, ``client``: how a connection comes about.
"""

from __future__ import annotations

from greenserve.errors import ConnectionClosed, HandshakeError, WebSocketError
from greenserve.websocket.client import connect
from greenserve.websocket.connection import WebSocket
from greenserve.websocket.options import Deflate, Options
from greenserve.websocket.server import WebSocketWSGI, websocket

__all__ = [
    "ConnectionClosed",
    "Deflate",
    "HandshakeError",
    "Options",
    "WebSocket",
    "WebSocketError",
    "WebSocketWSGI",
    "connect",
    "websocket",
]
