"""`server`: eventlet's function and its keywords, onto a `Server`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from greenserve.net.sockets import GreenSocket
from greenserve.settings import SETTINGS
from greenserve.wsgi.accesslog import Logger, Record, TextFile
from greenserve.wsgi.keywords import check_methods, listeners_of
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["server"]


def server(
    sock: GreenSocket | Iterable[GreenSocket],
    site: WSGIApp,
    log: Logger | TextFile | None = None,
    environ: dict[str, Any] | None = None,
    max_size: int | None = None,
    max_http_version: str | None = "HTTP/1.1",
    protocol: type[HttpProtocol] = HttpProtocol,
    server_event: Any = None,
    minimum_chunk_size: int | None = None,
    log_x_forwarded_for: bool = False,
    custom_pool: Any = None,
    keepalive: bool | float | None = True,
    log_output: bool = True,
    log_format: str | Callable[[Record], str] | None = None,
    url_length_limit: int | None = None,
    debug: bool = False,
    socket_timeout: float | None = None,
    capitalize_response_headers: bool = False,
    **settings: Any,
) -> None:
    """Serve ``site`` on the listening socket ``sock`` until stopped. May switch.

    The keywords are eventlet's, and those of `Server`.

    Args:
        sock: What `greenserve.listen` returns, or several of those.
        site: The WSGI application.
        log: Where the access log goes: a logger, or whatever has its ``info`` and ``debug``, or a file. The logger
            ``greenserve.access``, if None.
        environ: Put into every request's environ.
        max_size: How many connections may be open at once.
        max_http_version: ``"HTTP/1.0"`` turns keep-alive and chunked answers off.
        protocol: The class that handles a connection.
        server_event: Gets the `Server` object by its ``send``.
        minimum_chunk_size: Collect an answer's blocks until they have this many bytes. None sends each at once.
        log_x_forwarded_for: Put X-Forwarded-For before the client's address in the log. Clients can forge it.
        custom_pool: A `GreenPool` to run connections in; it bounds them too.
        keepalive: False turns it off; a number is the idle timeout in seconds.
        log_output: False turns the access log off.
        log_format: See `greenserve.wsgi.accesslog`.
        url_length_limit: The longest request line in bytes: ``limit_request_line``.
        debug: Show the client the traceback of an app that failed.
        socket_timeout: For how many seconds a client may keep the server waiting, in a head, a body and an answer, and
            between two requests unless ``keepalive`` is a number.
        capitalize_response_headers: Send ``etag`` as ``Etag``.
        settings: More keywords of `Server`.

    Raises:
        TypeError: A keyword is unknown, or its value of the wrong kind.
        ValueError: A value is wrong. The message names its keyword.
        OSError: No connections can be accepted, at once or any more.
        RuntimeError: ``custom_pool`` takes no connections any more.
    """
    listeners = listeners_of(sock)
    if not listeners:
        raise ValueError("wsgi.server() was given no listening socket: give what greenserve.listen() returns")
    check_methods("server_event", server_event, "send")
    check_methods("custom_pool", custom_pool, "spawn")
    if max_size is not None:
        settings["max_size"] = max_size
    if keepalive is not True:
        settings["keep_alive"] = SETTINGS["keep_alive"].parse(keepalive or 0, "the keyword keepalive")
    if url_length_limit is not None:
        settings["limit_request_line"] = SETTINGS["limit_request_line"].parse(
            url_length_limit, "the keyword url_length_limit"
        )
    if socket_timeout is not None:
        for name in ("head_timeout", "body_timeout", "write_timeout", "keep_alive"):
            settings.setdefault(name, SETTINGS[name].parse(socket_timeout, "the keyword socket_timeout"))
    running = Server(
        listeners,
        site,
        environ=environ,
        log=log,
        log_output=log_output,
        log_format=log_format,
        log_x_forwarded_for=log_x_forwarded_for,
        protocol=protocol,
        pool=custom_pool,
        debug=debug,
        capitalize_response_headers=capitalize_response_headers,
        minimum_chunk_size=minimum_chunk_size,
        max_http_version=max_http_version,
        **settings,
    )
    if server_event is not None:
        server_event.send(running)
    running.serve_forever()
