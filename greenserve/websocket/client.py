"""The client's side: `connect` to a WebSocket server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from greenserve import extras
from greenserve.core.timeouts import Timeout
from greenserve.errors import HandshakeError
from greenserve.net.listeners import connect as connect_socket
from greenserve.net.sockets import GreenSocket
from greenserve.websocket.connection import WebSocket
from greenserve.websocket.handshake import check_subprotocols
from greenserve.websocket.options import Options

if TYPE_CHECKING:
    from ssl import SSLContext

    from greenserve.websocket.codec import ClientHandshake, Codec

__all__ = ["connect"]

_RECEIVE = 65536


def connect(
    url: str,
    *,
    timeout: float | None = 10.0,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    ssl_context: SSLContext | None = None,
    sock: GreenSocket | None = None,
    **options: Any,
) -> WebSocket:
    """Return a WebSocket connection to ``url``, such as ``"wss://example.org/chat"``. May switch.

    Close it at the end: ``with connect(url) as ws:`` does.

    Args:
        url: ``ws:`` or ``wss:``. A name and a password in it are sent as basic authentication.
        timeout: Seconds for all of it: finding the address, connecting, TLS, the handshake. None waits for ever.
        headers: More fields of the request, such as ``{"Cookie": ...}``.
        subprotocols: What we speak, the dearest first. The server may choose one: ``ws.protocol``.
        origin: The field ``Origin``, for a server that wants to see one.
        ssl_context: For ``wss:``. By default the system's authorities vouch for the server.
        sock: A connected stream socket, in place of a new one.
        options: The keywords of `Options`.

    Raises:
        HandshakeError: The server has refused, or does not speak WebSocket. ``status`` has its answer's code.
        TimeoutError: It took longer than ``timeout``.
        OSError: As the system and TLS say.
        MissingExtra: The package ``websockets`` is not installed.
        ValueError: The URL, or another value, makes no sense.
    """
    settings = Options(**options)
    codec = extras.load("websocket", "greenserve.websocket.codec")
    handshake = codec.ClientHandshake(
        url,
        origin=origin,
        subprotocols=list(check_subprotocols(subprotocols)),
        headers=headers or {},
        deflate=settings.deflate,
        max_message_size=settings.max_message_size,
    )
    with Timeout(timeout, TimeoutError(f"no WebSocket connection to {url} within {timeout} s")):
        conn = connect_socket((handshake.host, handshake.port)) if sock is None else sock
        try:
            conn.settimeout(None)
            if handshake.is_secure:
                wrap_ssl = extras.load(None, "greenserve.net.tls").wrap_ssl
                conn = wrap_ssl(conn, ssl_context, server_side=False, server_hostname=handshake.host)
            conn.sendall(handshake.request)
            opened = _await_answer(handshake, conn)
        except BaseException:
            conn.close()
            raise
    ws = WebSocket(conn, opened, settings, path=handshake.resource, origin=origin)
    ws.begin(b"")
    return ws


def _await_answer(handshake: ClientHandshake, conn: GreenSocket) -> Codec:
    while True:
        data = conn.recv(_RECEIVE)
        if not data:
            raise HandshakeError(f"{handshake.host}:{handshake.port} closed the connection without an answer")
        opened = handshake.receive(data)
        if opened is not None:
            return opened
