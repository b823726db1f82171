"""The server: accepts, keeps to its limits, sweeps deadlines, stops. Knows connections, not what is said on them."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from greenlet import greenlet

from greenserve._originals import monotonic, wall_time
from greenserve._words import counted
from greenserve.core.greenthreads import GreenThread, kill, spawn, spawn_n
from greenserve.core.hub import get_hub
from greenserve.core.waiters import WaitQueue, sleep
from greenserve.errors import ContentTooLarge
from greenserve.http.date import date_line
from greenserve.http.head import Limits
from greenserve.net.listeners import connections_of
from greenserve.net.sockets import GreenSocket
from greenserve.wsgi.accesslog import Logger, Record, TextFile
from greenserve.wsgi.connection import Phase
from greenserve.wsgi.environ import Environ, server_environ
from greenserve.wsgi.files import FileWrapper
from greenserve.wsgi.hooks import DisconnectWatch, HookedConnection
from greenserve.wsgi.keywords import (
    access_log_of,
    check_class,
    check_environ,
    check_flags,
    check_listening,
    check_methods,
    handshaker_of,
    is_1_0_only,
    least_size,
    listeners_of,
    most_connections,
    settings_of,
)
from greenserve.wsgi.memory import keep_freed_memory
from greenserve.wsgi.meter import Meter
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.proxies import Proxies, Trust
from greenserve.wsgi.response import Response
from greenserve.wsgi.room import Room
from greenserve.wsgi.run import WSGIApp

if TYPE_CHECKING:
    from ssl import SSLContext


__all__ = ["Server"]

log = logging.getLogger("greenserve.wsgi")

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
        hub: The hub that it runs on.
        access_log: Where requests are logged, or None.
        meter: Counts answers, or None.
        requests: Requests whose app was run.
        refused: Requests that were answered with an error of ours instead.
        failed: Requests whose app raised.
        stopping: A stop has begun: no answer keeps its connection alive any more.
    """

    # On a graceful stop a connection whose last answer left within this time may have a request on its way.
    stop_grace = 1.0

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
        minimum_chunk_size: int | None = None,
        max_http_version: str | None = "HTTP/1.1",
        allow_connect: bool = False,
        keep_underscores: bool = False,
        multiprocess: bool = False,
        **settings: Any,
    ) -> None:
        self.listeners = listeners_of(listeners)
        if not callable(app):
            raise TypeError(f"{app!r} is no WSGI application: it can't be called")
        check_environ(environ)
        check_class("protocol", protocol, HttpProtocol)
        check_methods("pool", pool, "spawn")
        check_flags(
            log_output=log_output,
            log_x_forwarded_for=log_x_forwarded_for,
            debug=debug,
            capitalize_response_headers=capitalize_response_headers,
            allow_connect=allow_connect,
            keep_underscores=keep_underscores,
            multiprocess=multiprocess,
        )
        self.app = app
        self.protocol = protocol
        values = settings_of(settings, Server.__init__.__kwdefaults__ or ())
        self.max_size: int = min(values["max_size"], most_connections())
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
        self.minimum_chunk_size = least_size(minimum_chunk_size)
        self.is_1_0_only = is_1_0_only(max_http_version)
        self.allow_connect = allow_connect
        self.keep_underscores = keep_underscores
        self.log_x_forwarded_for = log_x_forwarded_for
        self.can_sendfile = True
        self.access_log = access_log_of(log, log_format) if log_output else None
        self.meter: Meter | None = None
        self.tls = handshaker_of(self.listeners, ssl_context, values)
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
        self._broken: Exception | None = None  # why there is no listener left
        self._sweeper: GreenThread[None] | None = None
        self._stop_deadline = _NEVER
        self._room = Room(self.connections, self.max_size)
        self._watch: DisconnectWatch | None = None
        self._hooks: set[GreenThread[Any]] = set()  # what apps wanted to have called, while it runs
        self._gone = WaitQueue()  # whoever waits for the connections to end
        self._ended = WaitQueue()
        self.ended = False
        self.hub = get_hub()
        self.date_end = b""  # the Date field, and the empty line that ends a head
        self.date_until = 0.0  # until when that is right, in monotonic seconds

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept, in green threads of this OS thread.

        Raises:
            OSError: A listener is closed, or does not listen.
        """
        for listener in self.listeners:
            check_listening(listener)
        keep_freed_memory()
        self.hub = get_hub()
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

        Raises:
            OSError: There is no listener left that accepts connections, and nobody has closed the last one.
            RuntimeError: Likewise, since the pool takes no connections any more.
        """
        if not self._acceptors:
            self.start()
        timeout: float | None = None
        while True:
            try:
                self.join()
                break
            except (KeyboardInterrupt, SystemExit):
                # The second one is in a hurry.
                self.stop(timeout)
                timeout = 0.0
            except BaseException:  # killed, or a Timeout: without its caller the server may not go on
                self.stop(timeout)
                raise
        broken, self._broken = self._broken, None
        if broken is not None:
            message = f"the server can't accept connections any more: {broken}"
            if isinstance(broken, OSError):
                raise OSError(broken.errno, message) from broken
            raise RuntimeError(message) from broken

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
        self.hub.call_soon(self._begin_stop, monotonic() + timeout)

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
        self._room.close()
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
            log.info("stopped after %s", counted(self.requests, "request"))

    def _close_idle(self, now: float) -> float:
        """Close the connections that wait for nothing, and return in how many seconds to look again."""
        again = grace = self.stop_grace
        for protocol in list(self.connections):
            request = self._expendable.pop(protocol, None)
            if request is not None and request is protocol.response:
                protocol.hang_up()
            elif protocol.phase is Phase.IDLE:
                quiet = now - protocol.idle_since
                if quiet >= grace:
                    protocol.expire()
                else:
                    again = min(again, grace - quiet)
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
            log.warning("cut off %s still in use when the server stopped", counted(in_use, "connection"))

    # Connections ----------------------------------------------------------------------------------------------------

    def _accept(self, listener: GreenSocket) -> None:
        broken: Exception | None = None
        try:
            try:
                for conn, address in connections_of(listener):
                    self._admit(conn, address)
                    if self.stopping:
                        break
                    self.wait_for_room(listener)
            except (_Stop, BlockingIOError):
                pass
            # Whoever the system has told "connected" is served.
            listener.settimeout(0)
            with suppress(BlockingIOError):
                for conn, address in connections_of(listener):
                    self._admit(conn, address)
        except OSError as exc:
            if self.stopping:
                log.error("can't accept the connections that still wait: %s", exc)
            else:
                log.error("%r accepts no connections any more: %s", listener, exc)
                broken = exc
        except Exception as exc:  # of a pool of somebody else's
            log.error("%r accepts no connections any more", listener, exc_info=exc)
            broken = exc
        finally:
            listener.close()
            if all(each.fileno() < 0 for each in self.listeners):
                self._broken = self._broken or broken
                self.stop()  # if it was not one that closed them: there is nothing left to serve

    def _admit(self, conn: GreenSocket, address: Any) -> None:
        try:
            protocol = self._make_protocol(conn, address)
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

    def _make_protocol(self, conn: GreenSocket, address: Any) -> HttpProtocol:
        return self.protocol(conn, address, self)

    def wait_for_room(self, listener: GreenSocket) -> None:
        """Wait until what comes next at ``listener`` has room within ``max_size``, or the server stops. May switch."""
        if len(self.connections) >= self.max_size:
            self._room.wait(listener)

    def serve_connection(self, protocol: HttpProtocol) -> None:
        """Serve a connection that somebody else has accepted, in a green thread of its own.

        There is room for it if they have waited for it: `wait_for_room`.
        """
        self.connections[protocol] = spawn_n(self._serve, protocol)

    def _serve(self, protocol: HttpProtocol) -> None:
        try:
            protocol.handle()
        finally:
            self.connections.pop(protocol, None)
            self._expendable.pop(protocol, None)
            self._room.note_end()
            if self.stopping:
                self._gone.wake_all()

    def watch_client(self, protocol: HookedConnection, callback: Callable[[], Any]) -> None:
        """Call ``callback`` in the hub's OS thread once the client of ``protocol`` has left."""
        if self._watch is None:
            self._watch = DisconnectWatch()
        self._watch.add(protocol.conn, callback)

    def unwatch_client(self, protocol: HookedConnection) -> None:
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
                    self.hub.call_soon(protocol.time_out, thread, response)
                running[protocol] = response, since
        return running

    # What protocols ask ---------------------------------------------------------------------------------------------

    def log_access(self, environ: Environ, response: Response, seconds: float) -> None:
        """Log one request that was answered after ``seconds``."""
        client = environ.get("REMOTE_ADDR") or "-"
        if self.log_x_forwarded_for:
            # From anybody, as eventlet has it.
            said = [value for name, value in environ.get("headers_raw", ()) if name.lower() == "x-forwarded-for"]
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


def _describe(listener: GreenSocket, scheme: str) -> str:
    name = listener.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{scheme}://{host}:{name[1]}"
    return f"unix:{name}"
