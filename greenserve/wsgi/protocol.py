"""HTTP/1.1 on one connection: read a head, run the app, answer, and again. Knows nothing of how it was accepted.

`HttpProtocol.handle` loops over `HttpProtocol.handle_one_request`.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from greenserve._originals import monotonic
from greenserve.core.timeouts import Timeout
from greenserve.core.waiters import sleep
from greenserve.errors import BadRequest, GreenserveError, RequestTimeout
from greenserve.http.body import EMPTY_BODY, Body, ChunkedBody, LengthBody
from greenserve.http.framing import BodyKind, Framing, frame_request
from greenserve.http.head import check_partial, take_head
from greenserve.http.response import capitalize, serialize_fields
from greenserve.net.sockets import GreenSocket
from greenserve.wsgi.connection import NEVER, BodySource, ClientGone, Expired, Phase
from greenserve.wsgi.environ import Environ, add_unknown_length, connection_environ, request_environ
from greenserve.wsgi.failures import TAKEN_OVER, RequestTimedOut, answer_failure, refuse
from greenserve.wsgi.hijack import HijackedSocket, SocketOffer
from greenserve.wsgi.hooks import HookedConnection
from greenserve.wsgi.input import Input
from greenserve.wsgi.lasthead import LastHead
from greenserve.wsgi.meter import BOUNDS, UNTIMED, find_bucket
from greenserve.wsgi.proxyprotocol import BadProxyHeader, read_header
from greenserve.wsgi.response import Response

if TYPE_CHECKING:
    from greenlet import greenlet

    from greenserve.wsgi.server import Server
    from greenserve.wsgi.tls import Handshaker

Posthook = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

__all__ = ["HttpProtocol", "Next"]

log = logging.getLogger("greenserve.wsgi")

# A peer that sends many requests at once gets this many answers before the other connections have their turn.
_PIPELINE_BUDGET = 16

# How much of a request's body that the app did not read is read and dropped, to keep the connection.
_MAX_DRAIN = 65536


class Next(enum.Enum):
    """What the connection does after one request."""

    KEEP_ALIVE = enum.auto()
    CLOSE = enum.auto()
    UPGRADED = enum.auto()  # the app has taken the socket over


_KEEP_ALIVE = Next.KEEP_ALIVE
_CLOSE = Next.CLOSE
_IDLE = Phase.IDLE
_HEAD = Phase.HEAD
_RUNNING = Phase.RUNNING
_FIRST, _SECOND, _THIRD, _FOURTH = BOUNDS[:4]


class HttpProtocol(HookedConnection):
    """One connection, and the requests on it.

    Attributes:
        served: How many requests it has answered.
        started: When the request that runs was there, in monotonic seconds, if anybody wants to know. In the phase
            HEAD, when its first byte came.
        method: That of the request that runs.
        response: The answer to the request that runs, or None; made by ``response_class``.
        body: The body of that request, while there may be more of it to read.
    """

    __slots__ = (
        "__weakref__",
        "_continue_fields",
        "_environ",
        "_framing",
        "_hijacked",
        "_keep_alive",
        "_last_head",
        "_local",
        "_unparked",
        "_untimed",
        "awaits_continue",
        "body",
        "can_sendfile",
        "is_1_1",
        "method",
        "response",
        "served",
        "started",
    )

    response_class: type[Response] = Response

    def __init__(self, conn: GreenSocket, address: Any, server: Server, initial: bytes = b"") -> None:
        super().__init__(conn, address, server, initial)
        self.can_sendfile = server.can_sendfile
        self.served = 0
        self.started = 0.0
        self.method = ""  # of the request that runs
        self._framing: Framing | None = None  # of a request with a body
        self._keep_alive = False  # what the client and the server's settings say
        self._local: Any = None  # what the client connected to, if that was a proxy
        self._unparked = 0
        self._untimed: Response | None = None  # of the request that request_timeout is not for
        self.hooks = None
        self._hijacked: HijackedSocket | None = None
        self.response: Response | None = None
        self.body: Body | None = None  # its body, if it has one
        self.awaits_continue = False  # the client holds its body back until it gets a 100
        self._continue_fields = b""
        self.forget()

    def forget(self) -> None:
        """Drop what only makes the next request cheaper: a connection that is idle for long keeps nothing."""
        self._last_head: LastHead | None = None
        self._environ: Environ | None = None  # what all requests of this connection have in common
        self._untimed = None
        if self.hooks is not None:
            self.drop_hooks()
        self.is_1_1 = True

    # The loop -----------------------------------------------------------------------------------------------------

    def handle(self) -> None:
        """Serve requests until the connection ends. May switch."""
        try:
            if self.server.proxy_protocol is not None and not self._meet_proxy(self.server.proxy_protocol):
                return
            tls = self.server.tls
            if tls is not None and not self._enter(tls):
                return
            while self.handle_one_request() is _KEEP_ALIVE:
                pass
        except (OSError, Expired) as exc:  # what the app raises does not come so far
            log.debug("connection from %s ended: %s", self.address, exc)
        finally:
            self.finish()

    def _meet_proxy(self, version: str) -> bool:
        """Let a proxy say who its client is. False when the connection has ended with that. May switch."""
        if not self.server.proxy_senders.includes(self.address):
            return True
        self.deadline = monotonic() + self.server.head_timeout
        try:
            header = read_header(self.conn, version)
        except BadProxyHeader as exc:
            log.warning("closed the connection of %s: %s", self.address, exc)
            return False
        if header is None:
            return False
        if header.source is not None:
            self.address, self._local = header.source, header.destination
        self.idle_since = monotonic()
        return True

    def _enter(self, tls: Handshaker) -> bool:
        """Do the TLS handshake, if there is one to do. False when the connection has ended with it. May switch."""
        try:
            return tls.open(self)
        except BadRequest as exc:
            self._refuse(exc)
            return False
        except OSError as exc:
            raise ClientGone(str(exc)) from exc

    def handle_one_request(self) -> Next:
        """Read one request, run the app, and answer. May switch."""
        rfile = self.rfile
        server = self.server
        if not rfile.buffer:
            self.phase = _IDLE
            self.deadline = self._idle_deadline()
            # Park first, then read: between two requests there is nearly never something to read, and finding that
            # out costs as much as parsing the request.
            try:
                try:
                    self.conn.wait_readable()
                except Expired:
                    if not self.conn.wait_readable(0):  # else a request has come at the last moment
                        raise
                if not rfile.fill():
                    return _CLOSE
            except OSError as exc:
                raise ClientGone(str(exc)) from exc
            self._unparked = 0
        else:
            self._unparked += 1
            if self._unparked >= _PIPELINE_BUDGET:
                self._unparked = 0
                sleep(0)
        last = self._last_head
        try:
            environ = None if last is None else last.next_environ(rfile.buffer, server.limits)
            if environ is not None:
                rfile.buffer = b""
                self.method = environ["REQUEST_METHOD"]
            else:
                environ = self._read_head()
                if environ is None:
                    return _CLOSE
        except BadRequest as exc:
            return self._refuse(exc)
        self.phase = _RUNNING
        self.deadline = NEVER
        if self._framing is not None:
            self.body = self._make_body(self._framing)
            environ["wsgi.input"] = environ["eventlet.input"] = Input(self, self.body)
            if self._framing.body is BodyKind.CHUNKED:
                add_unknown_length(environ)
            else:
                environ["CONTENT_LENGTH"] = str(self._framing.length)  # it may have been "3, 3"
        posthooks: list[Posthook] = []
        environ["eventlet.posthooks"] = posthooks
        server.requests += 1
        response = self.response = self.response_class(self, environ, self._keep_alive)
        access_log = server.access_log
        is_logged = access_log is not None and access_log.enabled
        meter = server.meter
        started = 0.0
        if is_logged or meter is not None:
            # When the hub saw its bytes; those of a pipeline have been there since the answer before. No clock is read.
            seen, idle_since = server.hub.now, self.idle_since
            started = self.started = seen if seen > idle_since else idle_since  # noqa: FURB136 - max() costs a call
        try:
            response.execute(server.app, environ)
        except BaseException as exc:
            self._after_failure(exc, response)
            if not isinstance(exc, (Exception, Timeout)):
                raise
        finally:
            ended = monotonic()
            if started:
                seconds = ended - started
                if self._hijacked is not None:
                    response.head, response.sent = TAKEN_OVER, 0  # whatever the app has answered since
                    if meter is not None:
                        meter.answers[101][UNTIMED] += 1
                elif meter is not None:
                    head = response.head
                    # The bounds of a busy server by hand: the call costs as much as all else that is counted.
                    meter.answers[0 if head is None else head.code][
                        (0 if seconds <= _FIRST else 1 if seconds <= _SECOND else 2) if seconds <= _THIRD
                        else 3 if seconds <= _FOURTH
                        else find_bucket(BOUNDS, seconds)
                    ] += 1  # fmt: skip
                    meter.seconds += seconds
                    meter.bytes_out += response.sent
                if is_logged:
                    server.log_access(environ, response, seconds)
            if posthooks:
                _run_posthooks(posthooks, environ)
        self.response = None
        if self._hijacked is not None:
            return Next.UPGRADED
        self.idle_since = ended
        self.served += 1
        if response.ended and response.keep_alive and self.body is None:
            return _KEEP_ALIVE
        return self._end_of_request(response)

    def _end_of_request(self, response: Response) -> Next:
        """What the usual request has not: a body left over, an answer cut short, a last answer. May switch."""
        body, self.body = self.body, None
        if body is not None and self.server.meter is not None:
            self.server.meter.bytes_in += body.received
        if not response.ended:
            self.abort()
            return _CLOSE
        if body is not None and not body.finished:
            drained = False
            # In all: to an app each byte may take as long, but here nobody waits for them.
            with Timeout(self.server.body_timeout, False):
                drained = response.keep_alive and body.discard(_MAX_DRAIN)
            if not drained:
                self.linger()
                return _CLOSE
        if response.keep_alive:
            return _KEEP_ALIVE
        # What else the client has sent is not read any more, but may not cost it this answer.
        if self.rfile.buffer or self.conn.wait_readable(0):
            self.linger()
        return _CLOSE

    def _idle_deadline(self) -> float:
        server = self.server
        return self.idle_since + (server.keep_alive if self.served else server.head_timeout)

    # Reading a head -----------------------------------------------------------------------------------------------

    def _read_head(self) -> Environ | None:
        """Return the environ of the next request, or None when the peer has left. May switch.

        Raises:
            BadRequest: The head is malformed, too large or too slow.
        """
        rfile = self.rfile
        server = self.server
        limits = server.limits
        connection = self._environ
        if connection is None:
            connection = self.connection_environ()
        buffer = rfile.buffer
        found = take_head(buffer, limits, server.keep_underscores, 0, connection)
        if found is None:
            self.phase = _IDLE
            self.deadline = self._idle_deadline()
            seen = 0
            while found is None:
                check_partial(buffer, limits, 0, seen)
                # An empty line is no beginning: old clients end a body so.
                if self.phase is _IDLE and buffer.strip(b"\r\n"):
                    self.phase = _HEAD
                    # The whole head has one deadline, however slowly its bytes come.
                    self.started = monotonic()
                    self.deadline = self.started + server.head_timeout
                seen = len(buffer)
                try:
                    if not rfile.fill():
                        return None
                except Expired:
                    if self.phase is _IDLE or (server.stopping and self.deadline > monotonic()):
                        return None
                    raise RequestTimeout("the request did not arrive in time") from None
                except OSError as exc:
                    raise ClientGone(str(exc)) from exc
                buffer = rfile.buffer
                found = take_head(buffer, limits, server.keep_underscores, seen, connection)
            self.deadline = NEVER
        line, fields, end = found
        self.method = line.method
        self.is_1_1 = line.version == "HTTP/1.1" and not server.is_1_0_only
        framing = frame_request(line, fields.variables, server.allow_connect)
        if framing.length > server.max_body:
            raise server.too_large()
        environ = request_environ(line, fields, framing.host)
        if fields.forwarded is not None:
            server.proxies.correct(environ, fields.forwarded, self.address)
        self._keep_alive = framing.keep_alive and server.keep_alive > 0
        if server.is_1_0_only and fields.variables.get("HTTP_CONNECTION", "").lower() != "keep-alive":
            self._keep_alive = False
        rfile.buffer = buffer[end:]  # what is refused stays in it
        self._framing = framing if framing.body is not BodyKind.NONE else None
        # From the second request on: most connections with only one would pay for what they never use.
        is_plain = self.served and self._framing is None and line.authority is None and framing.upgrade is None
        self._last_head = LastHead.remember(buffer[:end], limits, fields, environ) if is_plain else None
        return environ

    def connection_environ(self) -> Environ:
        """What all requests of this connection have in common. Not to be changed."""
        if self._environ is None:
            self._environ = self._make_environ()
        return self._environ

    def _make_environ(self) -> Environ:
        conn, server = self.conn, self.server
        base = server.tls_environ if conn.is_tls else server.environ
        local = conn.getsockname() if self._local is None else self._local
        environ = connection_environ(base, local, self.address)
        if server.tls is not None:
            environ.update(server.tls.describe(conn))
        environ["greenserve.socket"] = environ["gunicorn.socket"] = SocketOffer(self.hijack)
        environ["wsgi.input"] = environ["eventlet.input"] = Input(self, EMPTY_BODY)
        environ["wsgi.early_hints"] = self.send_early_hints
        environ["eventlet.posthooks"] = ()  # each request has its own: here only so that the dict need not grow
        environ["eventlet.set_idle"] = self.set_idle
        environ["greenserve.disconnected"] = self.has_client_left
        environ["greenserve.on_disconnect"] = self.on_disconnect
        environ["greenserve.on_stop"] = self.on_stop
        if server.request_timeout is not None:
            environ["greenserve.no_timeout"] = self.lift_timeout
        return environ

    def _make_body(self, framing: Framing) -> Body:
        source = BodySource(self)
        self.awaits_continue = framing.expect_continue and self.is_1_1
        before_read = self.send_continue if self.awaits_continue else None
        self._continue_fields = b""
        if framing.body is BodyKind.LENGTH:
            return LengthBody(source, framing.length, before_read)
        max_bytes = self.server.limit_request_body
        return ChunkedBody(source, max_bytes=max_bytes, before_read=before_read)

    # What a response asks -----------------------------------------------------------------------------------------

    def may_go_on(self) -> bool:
        """Whether another request can be read behind this one: asked when the head of the answer is made."""
        if self.server.stopping:
            return False
        body = self.body
        if body is None or body.finished:
            return True
        if self.awaits_continue:
            return False  # nobody knows whether the client will send the body that it held back
        remaining = body.remaining
        return remaining is None or remaining <= _MAX_DRAIN

    def least_block(self) -> int:
        """How many bytes of a streamed answer to collect before they are sent; 0 sends each block at once."""
        size = self.server.minimum_chunk_size
        response = self.response
        return size if response is None else int(response.environ.get("eventlet.minimum_write_chunk_size", size))

    def describe_request(self) -> str:
        """The request line, for a log."""
        target = "" if self.response is None else self.response.environ.get("RAW_URI", "")  # it is the app's to change
        return f"{self.method} {target} from {self.address}"

    # 100 Continue and 103 Early Hints -----------------------------------------------------------------------------

    def send_continue(self, again: bool = False) -> None:
        """Send ``100 Continue`` if the client waits for it and no answer has begun. May switch.

        ``again`` sends another one, to a client that had asked for the first.
        """
        is_wanted = self.awaits_continue or (again and self._framing is not None and self._framing.expect_continue)
        self.awaits_continue = False
        if is_wanted and self.response is not None and not self.response.head_sent:
            self.send(b"HTTP/1.1 100 Continue\r\n%b\r\n" % self._continue_fields, monotonic())

    def set_continue_fields(self, headers: list[tuple[str, str]], capitalize_names: bool) -> None:
        """Send these fields with every ``100 Continue`` of this request that is still to come."""
        if capitalize_names:
            headers = [(capitalize(name), value) for name, value in headers]
        self._continue_fields = serialize_fields(headers)

    def send_early_hints(self, headers: list[tuple[str, str]]) -> None:
        """``environ["wsgi.early_hints"]``: send a 103 with these fields (RFC 8297). May switch.

        No effect for HTTP/1.0, which knows no informational responses, or once the answer has begun.
        """
        if self.is_1_1 and self.response is not None and not self.response.head_sent:
            self.send(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % serialize_fields(headers), monotonic())

    # Taking over --------------------------------------------------------------------------------------------------

    def hijack(self) -> HijackedSocket:
        """Give the connection to the app, with what was read ahead. From then on it is not ours.

        Raises:
            RuntimeError: There is no request running whose connection it could be.
        """
        if self._hijacked is None:
            if self.response is None:
                raise RuntimeError("the request is over: its connection can't be taken over any more")
            self.phase = Phase.TAKEN
            self.deadline = NEVER
            unread, self.rfile.buffer = self.rfile.buffer, b""
            self._hijacked = HijackedSocket(self.conn, unread)
        return self._hijacked

    def is_taken(self) -> bool:
        """Whether the app has taken the connection over."""
        return self._hijacked is not None

    def set_idle(self) -> None:
        """``environ["eventlet.set_idle"]``: a stop hangs up on this connection at once, though its request runs."""
        self.server.set_idle(self)

    def lift_timeout(self) -> None:
        """``environ["greenserve.no_timeout"]``: the running request may take as long as it likes: it streams, say."""
        self._untimed = self.response

    def time_out(self, thread: greenlet, response: Response) -> None:
        """Raise `RequestTimedOut` in the app, if it is still at this request. From the hub."""
        if (
            self.response is response
            and self._untimed is not response
            and self.phase is Phase.RUNNING
            and not response.ended
            and not thread.dead
        ):
            self._untimed = response  # once is enough
            thread.throw(RequestTimedOut(self.server.request_timeout or 0.0))

    # Ending -------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Close the connection, one that the app has taken over too: with the app its use of it has ended."""
        self.forget()  # environ refers back to here
        if self.phase is not Phase.TAKEN:
            self.phase = Phase.CLOSING
        self.conn.close()

    def _refuse(self, exc: BadRequest) -> Next:
        """Answer a request that can't be served, and end the connection: nothing behind it is executed. May switch."""
        refuse(self, exc)
        self.linger()
        return _CLOSE

    def _after_failure(self, exc: BaseException, response: Response) -> None:
        """The app raised, or the client left. Say what must be said, where it still can be. May switch."""
        if self._hijacked is not None:
            # These are how libraries say "the socket was mine, send nothing".
            if not isinstance(exc, (StopIteration, OSError, GreenserveError, GreenletExit)):
                log.error(
                    "the app failed after it took the connection of %s over", self.describe_request(), exc_info=exc
                )
            return
        if isinstance(exc, ClientGone):
            log.debug("%s: the client left: %s", self.describe_request(), exc)
            return
        self._untimed = response
        if isinstance(exc, StopIteration) and "HTTP_UPGRADE" in response.environ and not response.head_sent:
            log.debug("%s: the app ended it without an answer", self.describe_request())
            return  # the same signal, of a library that found no socket to take
        answer_failure(self, response, exc)


def _run_posthooks(posthooks: list[Posthook], environ: Environ) -> None:
    for hook, args, kwargs in posthooks:
        try:
            hook(environ, *args, **kwargs)
        except Exception as exc:
            log.error("a post hook failed", exc_info=exc)
