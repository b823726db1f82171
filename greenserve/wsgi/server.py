"""The server: accepts, keeps to its limits, sweeps deadlines, stops. Knows connections, not what is said on them."""

from __future__ import annotations

import logging
import resource
import socket
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from greenlet import greenlet

from greenserve import extras
from greenserve._originals import monotonic, wall_time
from greenserve.core.greenthreads import GreenThread, kill, spawn, spawn_n
from greenserve.core.hub import get_hub
from greenserve.core.waiters import WaitQueue, sleep
from greenserve.errors import ClosedWhileWaiting, ContentTooLarge, SettingError
from greenserve.http.date import date_line
from greenserve.http.head import Limits
from greenserve.net.listeners import connections_of
from greenserve.net.sockets import GreenSocket
from greenserve.settings import SETTINGS, TLS
from greenserve.wsgi.accesslog import COMBINED, AccessLog, Logger, Record, TextFile
from greenserve.wsgi.connection import Phase
from greenserve.wsgi.environ import Environ, server_environ
from greenserve.wsgi.files import FileWrapper
from greenserve.wsgi.hooks import DisconnectWatch
from greenserve.wsgi.meter import Meter
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.proxies import Proxies, Trust
from greenserve.wsgi.response import Response
from greenserve.wsgi.run import WSGIApp

if TYPE_CHECKING:
    from ssl import SSLContext

    from greenserve.wsgi.tls import Handshaker

__all__ = ["Server", "server"]

log = logging.getLogger("greenserve.wsgi")

# Files the process needs beside its connections: listeners, logs, the app's own. A worker has a dozen before it serves,
# and an app that asks another server has one for each request. Of a small limit half: at 64 that is 32 connections.
_SPARE_FILES = 100

# On a graceful stop a connection whose last answer left within this time may have a request on its way.
_STOP_GRACE = 1.0

# Who has been idle for less is left alone when room is needed for another connection.
_IDLE_AT_LEAST = 1.0

# A connection that has been idle for this long gives up what only makes its next request cheaper.
_FORGET_AFTER = 1.0

_NEVER = float("inf")


class _Stop(Exception):
    """Raised where an acceptor waits for connections, when the server stops."""


class Server:
    """Serves ``app`` on one listening socket, or several.

    Every limit and deadline is a keyword of its own; ``greenserve.settings`` has the defaults and says what they mean.
    With an ``ssl_context``, or a ``certfile``, all listeners speak TLS; without, those that `greenserve.wrap_ssl` made.

    Attributes:
        connections: The open connections.
        access_log: Where requests are logged, or None.
        meter: Counts answers, or None.
        requests: Requests whose app was run.
        refused: Requests that were answered with an error of ours instead.
        failed: Requests whose app raised.
        stopping: A stop has begun: no answer keeps its connection alive any more.
    """

    def __init__(
        self,
        listeners: Any,
        app: WSGIApp,
        *,
        ssl_context: SSLContext | None = None,
        environ: dict[str, Any] | None = None,
        log: Logger | TextFile | None = None,
        log_output: bool = True,
        log_format: str | Callable[[Record], str] | None = None,
        log_x_forwarded_for: bool = False,
        protocol: type[HttpProtocol] = HttpProtocol,
        pool: Any = None,
        debug: bool = False,
        capitalize_response_headers: bool = False,
        minimum_chunk_size: int = 0,
        max_http_version: str = "HTTP/1.1",
        allow_connect: bool = False,
        keep_underscores: bool = False,
        multiprocess: bool = False,
        **settings: Any,
    ) -> None:
        self.listeners = _listeners_of(listeners)
        if not callable(app):
            raise TypeError(f"{app!r} is no WSGI application: it can't be called")
        self.app = app
        self.protocol = protocol
        values = _settings(settings)
        self.max_size: int = min(values["max_size"], _max_connections())
        self.head_timeout: float = values["head_timeout"]
        self.body_timeout: float = values["body_timeout"]
        self.write_timeout: float = values["write_timeout"]
        self.keep_alive: float = values["keep_alive"]
        self.graceful_timeout: float = values["graceful_timeout"]
        self.request_timeout: float | None = values["request_timeout"]
        self.limit_request_body: int | None = values["limit_request_body"]
        self.max_body: float = _NEVER if self.limit_request_body is None else self.limit_request_body
        self.limits = Limits(
            max_line=values["limit_request_line"],
            max_fields=values["limit_request_fields"],
            max_field=values["limit_request_field_size"],
            max_head=values["limit_request_head"],
        )
        self.proxies = Proxies(Trust(values["forwarded_allow_ips"]), values["forwarded_fields"] or ())
        self.proxy_protocol: str | None = None if values["proxy_protocol"] == "off" else values["proxy_protocol"]
        self.proxy_senders = Trust(values["proxy_allow_from"])
        self.debug = debug
        self.capitalize_response_headers = capitalize_response_headers
        self.minimum_chunk_size = minimum_chunk_size
        self.is_1_0_only = max_http_version == "HTTP/1.0"
        self.allow_connect = allow_connect
        self.keep_underscores = keep_underscores
        self.log_x_forwarded_for = log_x_forwarded_for
        self.can_sendfile = True
        self.access_log = _access_log(log, log_format) if log_output else None
        self.meter: Meter | None = None
        self.tls = _handshaker(self.listeners, ssl_context, values)
        self.environ: Environ = server_environ("http", multiprocess=multiprocess, extra=environ)
        self.tls_environ: Environ = server_environ("https", multiprocess=multiprocess, extra=environ)
        for base in (self.environ, self.tls_environ):
            base.setdefault("wsgi.file_wrapper", FileWrapper)

        self.connections: dict[HttpProtocol, greenlet] = {}
        self.requests = 0
        self.refused = 0
        self.failed = 0
        self.accepted = 0
        self.stopping = False
        self._expendable: dict[HttpProtocol, Response | None] = {}  # a stop hangs up on these, while they run
        self._pool = pool
        self._acceptors: list[GreenThread[None]] = []
        self._sweeper: GreenThread[None] | None = None
        self._stop_deadline = _NEVER
        self._room = WaitQueue()  # acceptors, while there are max_size connections
        self._longest_idle: deque[tuple[HttpProtocol, float]] = deque()  # and since when they were, when last looked at
        self._watch: DisconnectWatch | None = None
        self._hooks: set[GreenThread[Any]] = set()  # what apps wanted to have called, while it runs
        self._warned_full = False
        self._gone = WaitQueue()  # whoever waits for the connections to end
        self._ended = WaitQueue()
        self.ended = False
        self._hub = get_hub()
        self.date_end = b""  # the Date field, and the empty line that ends a head
        self.date_until = 0.0  # until when that is right, in monotonic seconds

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept, in green threads of this OS thread."""
        self._hub = get_hub()
        for listener in self.listeners:
            listener.settimeout(None)
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                # Linux hands it down to the connections. An answer leaves in one piece anyway.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._acceptors.append(spawn(self._accept, listener))
            is_tls = listener.is_tls or (self.tls is not None and self.tls.context is not None)
            log.info("listening on %s", _describe(listener, "https" if is_tls else "http"))
        self._sweeper = spawn(self._sweep)

    def serve_forever(self) -> None:
        """Serve until somebody calls `stop` or closes the listeners. May switch.

        Ctrl-C, and SystemExit in a green thread, stop gracefully; so does killing the green thread that called this.
        """
        if not self._acceptors:
            self.start()
        timeout: float | None = None
        while True:
            try:
                self.join()
                return
            except (KeyboardInterrupt, SystemExit):
                # The second one is in a hurry.
                self.stop(timeout)
                timeout = 0.0
            except BaseException:  # killed, or a Timeout: without its caller the server may not go on
                self.stop(timeout)
                raise

    def join(self) -> None:
        """Wait until the server has stopped. May switch."""
        waiter = self._ended.enter()
        if self.ended:
            self._ended.leave(waiter)
        else:
            self._ended.finish(waiter)

    def stop(self, graceful_timeout: float | None = None) -> None:
        """Stop serving. Returns at once; `join` and `serve_forever` return when it is done.

        May be called from any OS thread and from a signal handler. Called again, it can only shorten the wait.

        Args:
            graceful_timeout: How many seconds running requests may take to finish; 0 cuts them off.
                None is the server's own setting.
        """
        timeout = self.graceful_timeout if graceful_timeout is None else graceful_timeout
        self._hub.call_soon(self._begin_stop, monotonic() + timeout)

    def reload_certificates(self, ssl_context: SSLContext | None = None) -> None:
        """Use ``ssl_context`` for the handshakes to come, or what certificate and key files hold now.

        Connections that are open keep what they have. May be called from any OS thread and from a signal handler.

        Raises:
            SettingError: The files are not right. The server goes on with what they held before.
            ValueError: There are no files, or no TLS.
        """
        if self.tls is None:
            raise ValueError("reload_certificates(): the server does not speak TLS")
        self.tls.reload(ssl_context)

    def _begin_stop(self, deadline: float) -> None:
        self._stop_deadline = min(self._stop_deadline, deadline)
        if self.stopping:
            self._gone.wake_all()  # the end has come nearer
            return
        self.stopping = True
        for listener in self.listeners:
            listener.settimeout(0)  # an acceptor that does not wait now is not to wait later
            listener.interrupt(_Stop())
        self._room.wake_all()
        for protocol in list(self.connections):
            protocol.tell_of_stop()
        spawn(self._wind_down)

    def _wind_down(self) -> None:
        try:
            while self.connections or not all(thread.ended for thread in self._acceptors):
                now = monotonic()
                left = self._stop_deadline - now
                if left <= 0:
                    self._cut()
                    break
                self._gone.wait(min(left, self._close_idle(now)))
        finally:
            if self._sweeper is not None:
                self._sweeper.kill()
            for hook in list(self._hooks):
                hook.kill()
            if self._watch is not None:
                self._watch.close()
            self.ended = True
            self._ended.wake_all()
            log.info("stopped after %d requests", self.requests)

    def _close_idle(self, now: float) -> float:
        """Close the connections that wait for nothing, and return in how many seconds to look again."""
        again = _STOP_GRACE
        for protocol in list(self.connections):
            request = self._expendable.pop(protocol, None)
            if request is not None and request is protocol.response:
                protocol.hang_up()
            elif protocol.phase is Phase.IDLE:
                quiet = now - protocol.idle_since
                if quiet >= _STOP_GRACE:
                    protocol.expire()
                else:
                    again = min(again, _STOP_GRACE - quiet)
        return again

    def _cut(self) -> None:
        for acceptor in self._acceptors:
            acceptor.kill()
        in_use = 0
        for protocol, thread in list(self.connections.items()):
            if protocol not in self.connections:
                continue  # it has ended by itself while others were killed
            if protocol.phase not in {Phase.IDLE, Phase.CLOSING}:
                in_use += 1
                protocol.conn.abort()
            kill(thread)
        if in_use:
            log.warning("%d connections were still in use when the server stopped; they were cut off", in_use)

    # Connections ----------------------------------------------------------------------------------------------------

    def _accept(self, listener: GreenSocket) -> None:
        try:
            try:
                for conn, address in connections_of(listener):
                    self._admit(conn, address)
                    if self.stopping:
                        break
                    if len(self.connections) >= self.max_size:
                        self._wait_for_room(listener)
            except (_Stop, BlockingIOError):
                pass
            # Whoever the system has told "connected" is served.
            listener.settimeout(0)
            with suppress(BlockingIOError):
                for conn, address in connections_of(listener):
                    self._admit(conn, address)
        except OSError as exc:
            if not self.stopping:
                raise
            log.error("can't accept the connections that still wait: %s", exc)
        finally:
            listener.close()
            if all(each.fileno() < 0 for each in self.listeners):
                self.stop()  # if it was not one that closed them: there is nothing left to serve

    def _admit(self, conn: GreenSocket, address: Any) -> None:
        try:
            protocol = self.protocol(conn, address, self)
        except Exception as exc:  # of a subclass: the failure of one connection, not of the server
            log.error("can't serve a connection from %s", address, exc_info=exc)
            conn.close()
            return
        self.accepted += 1
        if self._pool is None:
            self.connections[protocol] = spawn_n(self._serve, protocol)
        else:
            try:
                self.connections[protocol] = self._pool.spawn(self._serve, protocol)  # waits for a place in it
            except BaseException:
                conn.close()
                raise

    def serve_connection(self, protocol: HttpProtocol) -> None:
        """Serve a connection that somebody else has accepted, in a green thread of its own."""
        self.connections[protocol] = spawn_n(self._serve, protocol)

    def _serve(self, protocol: HttpProtocol) -> None:
        try:
            protocol.handle()
        finally:
            self.connections.pop(protocol, None)
            self._expendable.pop(protocol, None)
            self._room.wake()
            if self.stopping:
                self._gone.wake_all()

    def _wait_for_room(self, listener: GreenSocket) -> None:
        """Wait until another connection has room beside the others: one that is idle may have to go for it."""
        if not self._warned_full:
            self._warned_full = True
            log.warning(
                "%d connections are open, the most that max_size allows: for more, idle ones close, "
                "or they wait in the backlog",
                self.max_size,
            )
        while len(self.connections) >= self.max_size and not self.stopping:
            try:
                listener.wait_readable()  # nobody has to go before somebody comes
            except ClosedWhileWaiting:
                return
            if len(self.connections) >= self.max_size:
                self._room.wait(self._make_room(monotonic()))

    def _make_room(self, now: float) -> float:
        """Close the connection that has been idle for longest, if any has for `_IDLE_AT_LEAST`.

        Returns:
            In how many seconds it makes sense to ask again.
        """
        for may_look in (True, False):
            while self._longest_idle:
                protocol, since = self._longest_idle.popleft()
                if protocol in self.connections and protocol.phase is Phase.IDLE and protocol.idle_since == since:
                    protocol.expire()
                    return _IDLE_AT_LEAST
            if may_look:
                # All at once: to look at every connection for each newcomer would take more than to serve them.
                idle = [(each, each.idle_since) for each in self.connections if each.phase is Phase.IDLE]
                oldest = sorted((each for each in idle if now - each[1] >= _IDLE_AT_LEAST), key=itemgetter(1))
                self._longest_idle.extend(oldest)
        return _IDLE_AT_LEAST / 10

    def watch_client(self, protocol: HttpProtocol, callback: Callable[[], Any]) -> None:
        """Call ``callback`` in the hub's OS thread once the client of ``protocol`` has left."""
        if self._watch is None:
            self._watch = DisconnectWatch()
        self._watch.add(protocol.conn, callback)

    def unwatch_client(self, protocol: HttpProtocol) -> None:
        """Take `watch_client` back."""
        if self._watch is not None:
            self._watch.discard(protocol.conn)

    def call_hook(self, callback: Callable[[], Any]) -> None:
        """Call what an app wanted to have called, in a green thread that ends with the server at the latest."""
        thread = spawn(callback)
        self._hooks.add(thread)
        thread.link(self._hooks.discard)

    def set_idle(self, protocol: HttpProtocol) -> None:
        """Let a stop hang up on ``protocol`` at once, while the request runs that does now."""
        self._expendable[protocol] = protocol.response

    def _sweep(self) -> None:
        """Look at every connection's deadline now and then: no wait of theirs pays for a timer."""
        shortest = min(self.head_timeout, self.body_timeout, self.write_timeout, self.keep_alive or 1.0)
        if self.tls is not None:
            shortest = min(shortest, self.tls.timeout)
        if self.request_timeout is not None:
            shortest = min(shortest, self.request_timeout)
        interval = min(1.0, max(0.02, shortest / 10))
        seen: dict[HttpProtocol, tuple[Response, float]] = {}
        while True:
            sleep(interval)
            now = monotonic()
            if self.request_timeout is not None:
                seen = self._time_out_requests(self.request_timeout, seen, now)
            if self._watch is not None:
                self._watch.look()
            self._look_at_deadlines(now)

    def _look_at_deadlines(self, now: float) -> None:
        # In a function of its own: the sweep, asleep, would keep the last connection it has looked at.
        for protocol in list(self.connections):
            if protocol.phase is Phase.RUNNING and protocol.deadline < _NEVER:
                protocol.note_progress(now)
            if protocol.deadline <= now:
                protocol.expire()
            elif protocol.phase is Phase.IDLE and now - protocol.idle_since > _FORGET_AFTER:
                protocol.forget()

    def _time_out_requests(
        self, timeout: float, seen: dict[HttpProtocol, tuple[Response, float]], now: float
    ) -> dict[HttpProtocol, tuple[Response, float]]:
        """Interrupt the requests that have run for ``timeout`` seconds since they were first seen.

        Args:
            seen: The requests that ran at the last look, by their responses, and when they were first seen.

        Returns:
            The same for this look. The requests themselves need not know when they began.
        """
        running = {}
        for protocol, thread in list(self.connections.items()):
            response = protocol.response
            if response is not None:
                before, since = seen.get(protocol, (None, now))
                if before is not response:
                    since = now
                elif now - since >= timeout:
                    self._hub.call_soon(protocol.time_out, thread, response)
                running[protocol] = response, since
        return running

    # What protocols ask ---------------------------------------------------------------------------------------------

    def log_access(self, environ: Environ, response: Response, seconds: float) -> None:
        """Log one request that was answered after ``seconds``."""
        client = environ.get("REMOTE_ADDR") or "-"
        if self.log_x_forwarded_for:
            # From anybody, as eventlet has it.
            said = [value for name, value in environ["headers_raw"] if name.lower() == "x-forwarded-for"]
            client = ",".join(filter(None, [", ".join(said), client]))
        head = response.head
        status, lines = ("", b"") if head is None else (str(head.code), head.fields.lines)
        if self.access_log is not None:
            try:
                self.access_log.write(Record(client, environ, status, lines, response.sent, seconds))
            except Exception as exc:  # noqa: BLE001 - a full disk, a closed file: no reason to leave a client
                log.error("can't write the access log: %s", exc)

    def renew_date(self, now: float) -> bytes:
        """Return ``date_end``, made anew. ``now`` is the monotonic time: one clock read for each answer is enough."""
        self.date_end = date_line() + b"\r\n"
        self.date_until = now + 1.0 - wall_time() % 1.0
        return self.date_end

    def describe_failure(self, exc: BaseException) -> str:
        """What a client is told when the app has failed: nothing about it, unless ``debug`` was asked for."""
        if self.debug:
            return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))
        return "The server met an error that it did not expect."

    def too_large(self) -> ContentTooLarge:
        """What a body over ``limit_request_body`` is refused with."""
        return ContentTooLarge(f"the body is longer than {self.limit_request_body} bytes")


def server(
    sock: GreenSocket | Iterable[GreenSocket],
    site: WSGIApp,
    log: Logger | TextFile | None = None,
    environ: dict[str, Any] | None = None,
    max_size: int | None = None,
    max_http_version: str = "HTTP/1.1",
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
        url_length_limit: The longest request line in bytes.
        debug: Show the client the traceback of an app that failed.
        socket_timeout: For how many seconds a client may keep the server waiting, in a head, a body and an answer, and
            between two requests unless ``keepalive`` is a number.
        capitalize_response_headers: Send ``etag`` as ``Etag``.
        settings: More keywords of `Server`.
    """
    if max_size is not None:
        settings["max_size"] = max_size
    if keepalive is not True:
        settings["keep_alive"] = float(keepalive or 0)
    if url_length_limit is not None:
        settings["limit_request_line"] = url_length_limit
    if socket_timeout is not None:
        for name in ("head_timeout", "body_timeout", "write_timeout", "keep_alive"):
            settings.setdefault(name, float(socket_timeout))
    running = Server(
        sock,
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
        minimum_chunk_size=minimum_chunk_size or 0,
        max_http_version=max_http_version,
        **settings,
    )
    if server_event is not None:
        server_event.send(running)
    running.serve_forever()


def _listeners_of(given: Any) -> list[GreenSocket]:
    listeners: list[GreenSocket] = list(given) if isinstance(given, (list, tuple)) else [given]
    for listener in listeners:
        if not isinstance(listener, GreenSocket):
            raise TypeError(f"can't serve on {listener!r}: give what greenserve.listen(('127.0.0.1', 8000)) returns")
    return listeners


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for name, setting in SETTINGS.items():
        if setting.keyword_of == "server":
            values[name] = setting.parse(given.pop(name)) if name in given else setting.default
    if given:
        raise TypeError(f"Server() takes no keyword {', '.join(sorted(given))}; it takes {', '.join(sorted(values))}")
    return values


def _handshaker(
    listeners: list[GreenSocket], ssl_context: SSLContext | None, values: dict[str, Any]
) -> Handshaker | None:
    given = [name for name, setting in SETTINGS.items() if setting.group == TLS and values[name] != setting.default]
    if ssl_context is None and given and values["certfile"] is None:
        raise SettingError(f"{', '.join(given)} without certfile: a server needs a certificate to speak TLS")
    if ssl_context is not None and given:
        raise SettingError(f"{', '.join(given)} beside ssl_context: the context says that already")
    if ssl_context is None and not given and not any(listener.is_tls for listener in listeners):
        return None
    handshaker: Handshaker = extras.load(None, "greenserve.wsgi.tls").Handshaker(ssl_context, values)
    return handshaker


def _access_log(target: Logger | TextFile | None, log_format: str | Callable[[Record], str] | None) -> AccessLog:
    return AccessLog(logging.getLogger("greenserve.access") if target is None else target, log_format or COMBINED)


def _max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft - min(_SPARE_FILES, soft // 2)


def _describe(listener: GreenSocket, scheme: str) -> str:
    name = listener.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{scheme}://{host}:{name[1]}"
    return f"unix:{name}"
