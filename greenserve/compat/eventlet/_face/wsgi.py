"""``eventlet.wsgi``: the server by eventlet's keywords, with its log on stderr, and the protocol that others subclass.

Limits and deadlines are `greenserve.wsgi`'s, and so is all reading and writing. From eventlet it takes what good
traffic can observe, and the names that subclasses of `HttpProtocol` read and override.
"""

from __future__ import annotations

import errno
import os
import traceback
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from greenlet import GreenletExit, getcurrent

from greenserve._originals import monotonic
from greenserve.compat.eventlet._face import _wsgi_app, greenio, support
from greenserve.compat.eventlet._face._wsgi_app import answering
from greenserve.compat.eventlet._face._wsgi_parts import (
    Input,
    LoggerFileWrapper,
    LoggerNull,
    encode_header_line,
    format_date_time,
    get_logger,
)
from greenserve.compat.eventlet._face._wsgi_response import Response
from greenserve.compat.eventlet._face.green import load, socket
from greenserve.compat.eventlet._face.timeout import Timeout
from greenserve.core.greenthreads import spawn, spawn_after
from greenserve.errors import BadRequest, BodyError, RequestTimeout
from greenserve.http.body import ChunkedBody
from greenserve.net.readers import SocketReader
from greenserve.wsgi import protocol as native_protocol
from greenserve.wsgi.accesslog import EVENTLET
from greenserve.wsgi.connection import ClientGone
from greenserve.wsgi.server import Server as NativeServer

__all__ = [
    "ChunkReadError",
    "HttpProtocol",
    "Input",
    "LoggerFileWrapper",
    "LoggerNull",
    "Server",
    "format_date_time",
    "get_logger",
    "server",
]

BaseHTTPServer = load("BaseHTTPServer")

DEFAULT_MAX_SIMULTANEOUS_REQUESTS = 1024
DEFAULT_MAX_HTTP_VERSION = "HTTP/1.1"
DEFAULT_LOG_FORMAT = EVENTLET
MAX_REQUEST_LINE = 8192
MAX_HEADER_LINE = 8192
MAX_TOTAL_HEADER_SIZE = 65536
MINIMUM_CHUNK_SIZE = 4096

# What a connection is at, in ``conn_state[2]``.
STATE_IDLE = "idle"
STATE_REQUEST = "request"
STATE_CLOSE = "close"

BAD_SOCK = {errno.EBADF, 10053}
BROKEN_SOCK = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}

# Once this is False, servers stop with the next connection that comes.
is_accepting = True

# An app that sets ``already_handled`` here has answered by itself, on the socket.
WSGI_LOCAL = _wsgi_app.WSGI_LOCAL

ChunkReadError = BodyError


def addr_to_host_port(addr: Any) -> tuple[str, Any]:
    """Host and port of an address; "unix" and "" for those that have none."""
    return (addr[0], addr[1]) if isinstance(addr, tuple) else ("unix", "")


def socket_repr(sock: Any) -> str:
    """A listener's URL."""
    name = sock.getsockname()
    scheme = "https" if hasattr(sock, "do_handshake") else "http"
    if sock.family == socket.AF_INET6:  # type: ignore[attr-defined]  # the copy of socket has all of its names
        return f"{scheme}://[{name[0]}]:{name[1]}"
    return f"{scheme}://{name[0]}:{name[1]}" if isinstance(name, tuple) else f"{scheme}:{name}"


# One connection -----------------------------------------------------------------------------------------------------


class _Reader(SocketReader):
    """A reader that can be told to close, as files can; the socket is closed by its connection."""

    __slots__ = ()

    closed = False

    def close(self) -> None:
        """Nothing is kept open."""


class _Writer:
    """The connection as a file to write to."""

    closed = False

    def __init__(self, connection: HttpProtocol) -> None:
        self._connection = connection

    def write(self, data: bytes) -> int:
        """Send ``data``. May switch."""
        self._connection.conn.sendall(data)
        return len(data)

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Send them all. May switch."""
        self.write(b"".join(lines))

    def flush(self) -> None:
        """Everything was sent."""

    def close(self) -> None:
        """The socket is closed by its connection."""


class HttpProtocol(native_protocol.HttpProtocol, BaseHTTPServer.BaseHTTPRequestHandler):  # type: ignore[misc,name-defined]  # a copy's class
    """One connection. ``process_request`` of a `Server` makes it and lets it `handle`.

    A subclass may override `get_environ`, `get_client_address`, `formalize_key_naming`, `handle_one_request`, `handle`
    and `finish`. The request that runs is in ``environ``, ``command``, ``path``, ``requestline`` and ``headers``.

    Args:
        conn_state: Address, socket, and what the connection is at.
        server: The `Server`.
    """

    protocol_version = "HTTP/1.1"
    minimum_chunk_size = MINIMUM_CHUNK_SIZE
    capitalize_response_headers = True
    # Always so: what two servers could read in two ways is refused.
    reject_bad_requests = True

    server: Server
    response_class = Response

    def __init__(self, conn_state: list[Any], server: Server) -> None:
        super().__init__(conn_state[1], conn_state[0], server)
        self.conn_state = conn_state
        self._head_environ: dict[str, Any] = {}  # of the last head that was read in full
        if server.chunk_size is not None:
            self.minimum_chunk_size = server.chunk_size
        self.capitalize_response_headers = server.capitalize_response_headers

    def use(self, conn: Any) -> None:
        """Speak over ``conn`` from now on."""
        if "send" in getattr(conn, "__dict__", ()):
            # Somebody has put another one there, which may send a part as any send() may; ours sends everything.
            conn.send = partial(_send_all, conn.send)
        self.conn = conn
        self.rfile = conn.makefile("rb", reader=_Reader)

    @property
    def environ(self) -> dict[str, Any]:
        """The environ of the request that runs, or is about to."""
        # A head that is the same as the last one but for a few bytes is not read in full.
        return self._head_environ if self.response is None else self.response.environ

    @property
    def request(self) -> Any:
        """The socket."""
        return self.conn

    connection = request

    @property
    def client_address(self) -> Any:
        """The peer's address."""
        return self.address

    @property
    def wfile(self) -> Any:
        """The connection as a file to write to."""
        return _Writer(self)

    @property
    def command(self) -> str:
        """The request's method."""
        return self.method

    @property
    def path(self) -> str:
        """The request's target."""
        return str(self.environ.get("RAW_URI", ""))

    @property
    def request_version(self) -> str:
        """The request's version."""
        return str(self.environ.get("SERVER_PROTOCOL", ""))

    @property
    def requestline(self) -> str:
        """The request line."""
        return f"{self.command} {self.path} {self.request_version}"

    @property
    def raw_requestline(self) -> bytes:
        """The request line as bytes."""
        return self.requestline.encode("latin-1") + b"\r\n"

    @property
    def headers(self) -> Any:
        """The request's fields, as ``http.client`` has them."""
        message = BaseHTTPServer.http.client.HTTPMessage()
        for name, value in self.environ.get("headers_raw", ()):
            message[name] = value
        return message

    @property
    def close_connection(self) -> bool:
        """Whether the connection ends with this request."""
        return not self._keep_alive

    @close_connection.setter
    def close_connection(self, value: bool) -> None:
        self._keep_alive = not value

    def _read_head(self) -> dict[str, Any] | None:
        environ = super()._read_head()
        if environ is None:
            return None
        self.conn_state[2] = STATE_REQUEST
        self._head_environ = environ
        kind = type(self)
        if kind.formalize_key_naming is not HttpProtocol.formalize_key_naming:
            self._name_anew(environ)
        if kind.get_environ is not HttpProtocol.get_environ or kind.formalize_key_naming is not _NAMING:
            self._last_head = None  # a head that is the same is not looked at again: the subclass wants to see each
            environ = self._head_environ = self.get_environ()
        return environ

    def _name_anew(self, environ: dict[str, Any]) -> None:
        for name, value in environ["headers_raw"]:
            key = self.formalize_key_naming(name)
            if key and key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                environ.setdefault(f"HTTP_{key}", value)

    def _make_environ(self) -> dict[str, Any]:
        environ = super()._make_environ()
        if not isinstance(self.conn.getsockname(), tuple):
            environ.update(SERVER_NAME="unix", SERVER_PORT="", REMOTE_ADDR="unix", REMOTE_PORT="")
        return environ

    def send_continue(self, again: bool = False) -> None:
        """Send ``100 Continue``; ``again``, for another body behind the last chunk of one. May switch.

        That is no HTTP: Swift's object servers take an object and what belongs to it so.
        """
        super().send_continue(again)
        body = self.body
        if again and self._framing is not None and isinstance(body, ChunkedBody) and body.finished:
            fields = self._continue_fields
            self.body = self._make_body(self._framing)
            self._continue_fields, self.awaits_continue = fields, False
            self.environ["eventlet.input"].body = self.body

    def get_environ(self) -> dict[str, Any]:
        """The environ of the request that begins."""
        return self.environ

    def formalize_key_naming(self, k: str) -> str | None:
        """A field's name as it is in environ, without ``HTTP_``; None leaves it out."""
        return None if "_" in k else k.replace("-", "_").upper()

    def get_client_address(self) -> tuple[str, Any]:
        """Whom the log names as the client."""
        host, port = addr_to_host_port(self.address)
        if self.server.names_forwarded:
            said = [value for name, value in self.environ.get("headers_raw", ()) if name.lower() == "x-forwarded-for"]
            host = ",".join([*(part.replace(" ", "") for part in said if part), host])
        return host, port

    def least_block(self) -> int:
        """How many bytes of a streamed answer to collect before they are sent."""
        size = self.minimum_chunk_size
        return size if self.response is None else int(self.response.environ.get(_CHUNK_VARIABLE, size))

    def handle_one_request(self) -> Any:
        """Read one request, run the app, and answer. May switch."""
        try:
            return super().handle_one_request()
        finally:
            self.conn_state[2] = STATE_IDLE

    def _refuse(self, exc: BadRequest) -> native_protocol.Next:
        if isinstance(exc, RequestTimeout) and self.server.socket_timeout is not None:
            return native_protocol.Next.CLOSE  # to eventlet's clients a timeout of the socket's is its end
        return super()._refuse(exc)

    def _after_failure(self, exc: BaseException, response: Any) -> None:
        if isinstance(exc, (Exception, Timeout)) and not isinstance(exc, (ClientGone, BadRequest)):
            self.server.log_failure(exc)
        super()._after_failure(exc, response)

    def finish(self) -> None:
        """Close the connection."""
        super().finish()
        self.conn_state[2] = STATE_CLOSE


def _send_all(send: Callable[..., int], data: Any, *flags: int) -> int:
    view = memoryview(data)
    while view:
        view = view[send(view, *flags) :]
    return len(data)


_NAMING = HttpProtocol.formalize_key_naming
# Deadlines that are nearer than this are not left to the sweep, which comes by now and then.
_SOON = 0.1
# Before whoever waits for the same time looks whether it is over.
_EARLY = 0.002

_CHUNK_VARIABLE = "eventlet.minimum_write_chunk_size"


# The server ---------------------------------------------------------------------------------------------------------


class Server(NativeServer):
    """The server of one listener, which `server` runs. `process_request` serves one connection by itself.

    Attributes:
        log: Where everything is logged that is no access log line.
        pid: The process.
        chunk_size: What was given as ``minimum_chunk_size``.
        names_forwarded: What was given as ``log_x_forwarded_for``.
    """

    stop_grace = 0.25  # eventlet has none, and who waits for the end of a server of its knows that

    def __init__(
        self,
        socket: Any,
        address: Any,
        app: Any,
        log: Any = None,
        environ: dict[str, Any] | None = None,
        max_http_version: str | None = None,
        protocol: type[HttpProtocol] = HttpProtocol,
        minimum_chunk_size: int | None = None,
        log_x_forwarded_for: bool = True,
        keepalive: Any = True,
        log_output: bool = True,
        log_format: str = DEFAULT_LOG_FORMAT,
        url_length_limit: int = MAX_REQUEST_LINE,
        debug: bool | None = None,
        socket_timeout: float | None = None,
        capitalize_response_headers: bool = True,
        **settings: Any,
    ) -> None:
        self.log: Any = get_logger(log, debug is not False) if log_output else LoggerNull()
        self._has_own_log = log_output and log is not None
        if not capitalize_response_headers:
            warnings.warn(
                "capitalize_response_headers is disabled: fields are sent as the app writes them",
                DeprecationWarning,
                stacklevel=3,
            )
        if keepalive is not True:
            settings["keep_alive"] = float(keepalive or 0)
        if socket_timeout is not None:
            for name in ("head_timeout", "body_timeout", "write_timeout", "keep_alive"):
                settings.setdefault(name, float(socket_timeout))
        super().__init__(
            socket,
            answering(app),
            environ=environ,
            log=self.log,
            log_output=log_output,
            log_format=log_format,
            protocol=protocol,
            debug=bool(debug),
            capitalize_response_headers=capitalize_response_headers,
            max_http_version=max_http_version or DEFAULT_MAX_HTTP_VERSION,
            limit_request_line=url_length_limit,
            **settings,
        )
        self.names_forwarded = log_x_forwarded_for
        self.socket = socket
        self.address = address
        self.pid = os.getpid()
        self.chunk_size = minimum_chunk_size
        self.keepalive = keepalive
        self.log_output = log_output
        self.log_format = log_format
        self.max_http_version = max_http_version
        self.url_length_limit = url_length_limit
        self.socket_timeout = socket_timeout
        self._timers: dict[native_protocol.HttpProtocol, float] = {}
        self._serving: Any = None  # the green thread in which `serve_forever` runs

    @property
    def outstanding_requests(self) -> int:
        """How many requests run."""
        return sum(connection.response is not None for connection in self.connections)

    def get_environ(self) -> dict[str, Any]:
        """What is the same in every request."""
        return dict(self.tls_environ if hasattr(self.socket, "do_handshake") else self.environ)

    def serve_forever(self) -> None:
        """Serve until somebody calls `stop`, closes the listener or kills the caller. May switch.

        Raises:
            OSError: What is wrong with the listener.
        """
        if not self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):  # type: ignore[attr-defined]  # as above
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # what accept() would say, before anybody waits
        self._serving = getcurrent()
        try:
            super().serve_forever()
        except GreenletExit:
            self._hang_up_on_the_idle()
            raise
        finally:
            self.join()  # a stop has begun: whoever waits for the end of this waits for the connections too

    def stop(self, graceful_timeout: float | None = None) -> None:
        """Stop serving. Returns at once; `serve_forever` returns when it is done."""
        if getcurrent() is self._serving:
            # At once, and from no signal handler: who has killed the server goes on with its address after a sleep(0).
            timeout = self.graceful_timeout if graceful_timeout is None else graceful_timeout
            self._begin_stop(monotonic() + timeout)
        else:
            super().stop(graceful_timeout)

    def _hang_up_on_the_idle(self) -> None:
        self.stop_grace = 0.0
        self._close_idle(monotonic())

    def _look_at_deadlines(self, now: float) -> None:
        super()._look_at_deadlines(now)
        # Timeouts of less than a second are kept to the moment.
        for connection in list(self.connections):
            due = connection.deadline
            if now < due < now + _SOON and self._timers.get(connection) != due:
                self._timers[connection] = due
                spawn_after(due - now - _EARLY, self._expire, connection, due)

    def _expire(self, connection: native_protocol.HttpProtocol, due: float) -> None:
        self._timers.pop(connection, None)
        if connection.deadline == due and connection in self.connections:
            connection.expire()

    def _admit(self, conn: Any, address: Any) -> None:
        self.log.debug("(%s) accepted %r", self.pid, address)
        super()._admit(conn, address)
        if not is_accepting:
            self.stop()

    def _make_protocol(self, conn: Any, address: Any) -> native_protocol.HttpProtocol:
        return self.protocol([address, conn, STATE_IDLE], self)  # type: ignore[call-arg,arg-type]  # eventlet's arguments

    def process_request(self, conn_state: list[Any]) -> None:
        """Serve one connection, of which ``conn_state`` is address, socket and state, to its end. May switch."""
        connection = self.protocol(conn_state, self)  # type: ignore[call-arg,arg-type]  # eventlet's arguments
        self.connections[connection] = getcurrent()
        if self._sweeper is None or self._sweeper.ended:
            self._sweeper = spawn(self._sweep)
        try:
            connection.handle()
        finally:
            self.connections.pop(connection, None)
            if not self.connections and not self._acceptors and self._sweeper is not None:
                self._sweeper.kill()

    def log_access(self, environ: dict[str, Any], response: Any, seconds: float) -> None:
        """Log one request that was answered after ``seconds``."""
        # Always eventlet's way to name a client, which a subclass of the protocol may change.
        client, port = response._protocol.get_client_address()
        super().log_access({**environ, "REMOTE_ADDR": client, "REMOTE_PORT": str(port)}, response, seconds)

    def log_failure(self, exc: BaseException) -> None:
        """Log what an app has raised, where somebody wants to have the log. Otherwise ``logging`` has it."""
        if self._has_own_log:
            self.log.info("".join(traceback.format_exception(type(exc), exc, exc.__traceback__)))

    def describe_failure(self, exc: BaseException) -> str:
        """What a client is told when the app has failed."""
        return super().describe_failure(exc) if self.debug else ""

    def log_message(self, message: str) -> None:
        """Gone, as in eventlet.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError("eventlet.wsgi.server.log_message was deleted: use server.log.info instead")


def server(
    sock: Any,
    site: Any,
    log: Any = None,
    environ: dict[str, Any] | None = None,
    max_size: int | None = None,
    max_http_version: str = DEFAULT_MAX_HTTP_VERSION,
    protocol: type[HttpProtocol] = HttpProtocol,
    server_event: Any = None,
    minimum_chunk_size: int | None = None,
    log_x_forwarded_for: bool = True,
    custom_pool: Any = None,
    keepalive: Any = True,
    log_output: bool = True,
    log_format: str = DEFAULT_LOG_FORMAT,
    url_length_limit: int = MAX_REQUEST_LINE,
    debug: bool | None = None,
    socket_timeout: float | None = None,
    capitalize_response_headers: bool = True,
) -> None:
    """Serve ``site`` on the listening socket ``sock`` until stopped. May switch.

    Args:
        log: A logger, or a file; stderr if None. Access lines, start and stop go there.
        debug: Show the client the traceback of an app that failed; eventlet does unless it is False. Each connection is
            logged in the file ``log`` unless it is False, as there.
        minimum_chunk_size: Collect a streamed answer's blocks until they have this many bytes: 4096 if None.
        keepalive: False turns it off; a number is the idle timeout in seconds.

    The others are those of `greenserve.wsgi.server`.

    Raises:
        AttributeError: ``custom_pool`` is no pool.
    """
    if custom_pool is not None and not (hasattr(custom_pool, "spawn") and hasattr(custom_pool, "waitall")):
        raise AttributeError("eventlet.wsgi.Server pool must provide methods: `spawn`, `waitall`.")
    running = Server(
        sock,
        sock.getsockname(),
        site,
        log,
        environ=environ,
        max_http_version=max_http_version,
        protocol=protocol,
        minimum_chunk_size=minimum_chunk_size,
        log_x_forwarded_for=log_x_forwarded_for,
        keepalive=keepalive,
        log_output=log_output,
        log_format=log_format,
        url_length_limit=url_length_limit,
        debug=debug,
        socket_timeout=socket_timeout,
        capitalize_response_headers=capitalize_response_headers,
        pool=custom_pool,
        **({} if max_size is None else {"max_size": max_size}),
    )
    if server_event is not None:
        warnings.warn("server_event is deprecated", DeprecationWarning, stacklevel=2)
        server_event.send(running)
    running.log.info("(%s) wsgi starting up on %s", running.pid, socket_repr(sock))
    try:
        running.serve_forever()
    finally:
        running.log.info("(%s) wsgi exited, is_accepting=%s", running.pid, is_accepting)


shutdown_safe = greenio.shutdown_safe
get_errno = support.get_errno
_encode_header_line = encode_header_line
