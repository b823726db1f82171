"""WebSockets as WSGI applications: the handshake, then the handler, on the connection that the server gives away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from greenserve import extras
from greenserve.core.timeouts import Timeout
from greenserve.errors import ConnectionClosed
from greenserve.websocket.connection import GOING_AWAY, INTERNAL_ERROR, WebSocket
from greenserve.websocket.handshake import (
    Origins,
    Refusal,
    accepted,
    check_origin,
    check_request,
    check_subprotocols,
    choose_subprotocol,
)
from greenserve.websocket.options import Options

__all__ = ["WebSocketWSGI", "websocket"]

log = logging.getLogger("greenserve.websocket")

Handler = Callable[[WebSocket], Any]


class WebSocketWSGI:
    """A WSGI application that calls ``handler(ws)`` with a `WebSocket` for each connection, on any path.

    The connection is closed when the handler returns: with 1000, or with 1011 when it raised. A graceful stop of the
    server closes it with 1001, which ends the handler's loop over messages. A request that is not for a WebSocket gets
    an error that says so.

    Args:
        handler: Called in the green thread of the connection.
        subprotocols: What the handler speaks, the dearest first. The first that the client offers is chosen.
        origins: From which web pages to take connections: a list of origins (``"https://example.org"``) and compiled
            patterns, or a function of the origin, which is None for what is no browser. By default they are taken from
            everywhere: any page that a user looks at can connect then, with the user's cookies.
        options: The keywords of `Options`.

    Raises:
        MissingExtra: The package ``websockets`` is not installed.
        TypeError: Some argument is of the wrong kind.
        ValueError: Some value makes no sense.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        subprotocols: Sequence[str] = (),
        origins: Origins | None = None,
        **options: Any,
    ) -> None:
        if not callable(handler):
            raise TypeError(f"WebSocketWSGI({handler!r}): give a function that takes a WebSocket")
        if isinstance(origins, str):
            raise TypeError(f"origins={origins!r}: give a list, such as [{origins!r}]")
        self.handler = handler
        self.subprotocols = check_subprotocols(subprotocols)
        self.origins = origins
        self.options = Options(**options)
        self._codec = extras.load("websocket", "greenserve.websocket.codec")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI application. May switch."""
        refusal = check_request(environ) or check_origin(environ, self.origins)
        if refusal is not None:
            return self.refuse(refusal, start_response)
        try:
            ws = self.accept(environ)
        except ValueError as exc:
            return self.refuse(Refusal("400 Bad Request", f"Sec-WebSocket-Extensions: {exc}"), start_response)
        except ConnectionClosed as exc:
            log.debug("%s: %s", environ.get("PATH_INFO"), exc)
            return []
        # For what sits in between and expects the call: the client has got its answer, and nobody sends this one.
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        self.run(ws)
        return []

    def accept(self, environ: dict[str, Any]) -> WebSocket:
        """Take the connection of a request over, whose fields were checked, and answer. May switch.

        Raises:
            ConnectionClosed: The client has gone.
            RuntimeError: The server is not greenserve's.
            ValueError: ``Sec-WebSocket-Extensions`` is malformed. Nothing was taken over.
        """
        offer = environ.get("greenserve.socket")
        if offer is None:
            raise RuntimeError(
                "a WebSocket needs a connection that greenserve's server gives away: serve the app with it"
            )
        answer, extensions = None, []
        deflate, offered = self.options.deflate, environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS")
        if deflate is not None and offered:
            answer, extensions = self._codec.negotiate(offered, deflate)
        subprotocol = choose_subprotocol(environ, self.subprotocols)
        codec = self._codec.server_codec(self.options.max_message_size, extensions, subprotocol)
        sock, unread = offer.unwrap_socket()
        ws = WebSocket(
            sock,
            codec,
            self.options,
            unread,
            environ=environ,
            path=environ.get("PATH_INFO", ""),
            origin=environ.get("HTTP_ORIGIN"),
        )
        ws.begin(accepted(environ, subprotocol, answer))
        return ws

    def refuse(self, refusal: Refusal, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a request that is not for a WebSocket, or not a right one."""
        body = f"{refusal.text}\n".encode()
        fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *refusal.fields]
        start_response(refusal.status, fields)
        return [body]

    def run(self, ws: WebSocket) -> None:
        """Call the handler, and close the connection behind it. What the handler raises comes out. May switch."""
        # The server calls back in a green thread of its own.
        ws.environ["greenserve.on_stop"](partial(ws.close, GOING_AWAY, "the server is stopping"))
        try:
            self.handler(ws)
        except ConnectionClosed as exc:
            log.debug("%s: %s", ws.path, exc)  # its own, or that of another one that it talks to
        except (Exception, Timeout):
            ws.close(INTERNAL_ERROR)
            raise
        except BaseException:
            ws.abort()
            raise
        ws.close()


def websocket(handler: Handler | None = None, **keywords: Any) -> Any:
    """Decorate a handler to make it a `WebSocketWSGI`, with or without its keywords.

    ``@websocket`` or ``@websocket(subprotocols=["chat"])`` above ``def chat(ws):``.
    """
    return partial(websocket, **keywords) if handler is None else WebSocketWSGI(handler, **keywords)
