"""What a client is told that gets no answer of the app's: its request was refused, or the app has failed.

Knows what to say and that it is logged and counted; what becomes of the connection is the protocol's business.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from greenlet import GreenletExit

from greenserve._originals import monotonic
from greenserve.core.timeouts import Timeout
from greenserve.errors import BadRequest
from greenserve.http.date import now_date
from greenserve.http.head import take_head
from greenserve.http.response import ResponseHead, check_fields, check_head, error_page
from greenserve.wsgi.connection import ClientGone, Phase
from greenserve.wsgi.environ import Environ, put_words, request_environ
from greenserve.wsgi.meter import UNTIMED
from greenserve.wsgi.response import Response

if TYPE_CHECKING:
    from greenserve.wsgi.protocol import HttpProtocol

__all__ = ["REFUSED", "TAKEN_OVER", "RequestTimedOut", "answer_failure", "refuse"]

log = logging.getLogger("greenserve.wsgi")

# The variable of environ that says why a request was refused. Only the access log gets to see it.
REFUSED = "greenserve.refused"

# What the log says of a connection that was taken over.
TAKEN_OVER = ResponseHead(b"", 101, False, check_fields(()))


class RequestTimedOut(Timeout):
    """Raised in the app, where it waits, when a request has taken longer than ``request_timeout``.

    A `Timeout` without a timer of its own, and so no ``Exception``: an app that catches those does not swallow it.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(None)
        self.seconds = seconds


def refuse(protocol: HttpProtocol, exc: BadRequest) -> None:
    """Answer a request whose app can't be called. May switch.

    Raises:
        ClientGone: The client did not wait for it.
    """
    log.info("refused a request from %s: %s: %s", protocol.address, exc.status, exc)
    server = protocol.server
    server.refused += 1
    if server.meter is not None:
        server.meter.answers[int(exc.status[:3])][UNTIMED] += 1
    # With the whole head in one piece it has taken no time.
    seconds = monotonic() - protocol.started if protocol.phase is Phase.HEAD else 0.0
    protocol.phase = Phase.CLOSING
    is_head = protocol.rfile.buffer.lstrip(b"\r\n").startswith(b"HEAD ")
    access_log = server.access_log
    if access_log is None or not access_log.enabled:
        protocol.send(_page(protocol, exc.status, str(exc), not is_head), monotonic())
        return
    response = Response(protocol, _environ_of_refused(protocol, exc), False)
    try:
        _send_page(protocol, response, exc.status, str(exc), not is_head)
    finally:
        protocol.response = response  # a subclass may name the client by what it has asked
        server.log_access(response.environ, response, seconds)
        protocol.response = None


def answer_failure(protocol: HttpProtocol, response: Response, exc: BaseException) -> None:
    """Log what an app has raised, and answer with what the client may know of it, if it still can. May switch."""
    server = protocol.server
    if isinstance(exc, BadRequest):
        log.info("%s: %s", protocol.describe_request(), exc)
        status, reason = exc.status, str(exc)
    elif isinstance(exc, RequestTimedOut):
        log.warning("the app took longer than %s for %s", exc, protocol.describe_request(), exc_info=exc)
        server.failed += 1
        status, reason = "503 Service Unavailable", "The server could not answer in time."
    elif isinstance(exc, (Exception, Timeout)):
        log.error("the app failed at %s", protocol.describe_request(), exc_info=exc)
        server.failed += 1
        status, reason = "500 Internal Server Error", server.describe_failure(exc)
    elif isinstance(exc, GreenletExit) and not server.stopping:
        # Somebody has killed it, who may well have meant to.
        log.warning("the green thread of %s was killed", protocol.describe_request(), exc_info=exc)
        server.failed += 1
        status, reason = "500 Internal Server Error", server.describe_failure(exc)
    else:
        if not isinstance(exc, GreenletExit):  # SystemExit, or whatever else ends the program
            log.info("the app ends the program at %s: %r", protocol.describe_request(), exc)
        status, reason = "503 Service Unavailable", "the server is stopping"
    if response.ended:
        return  # close() of a finished answer failed
    response.keep_alive = False
    if response.head_sent:
        return
    response.head_sent = True
    try:
        _send_page(protocol, response, status, reason, protocol.method != "HEAD")
        response.ended = True
    except ClientGone as gone:
        log.debug("%s: the client left: %s", protocol.describe_request(), gone)


def _send_page(protocol: HttpProtocol, response: Response, status: str, reason: str, with_body: bool) -> None:
    response.head = check_head(status, [])  # for the log
    page = _page(protocol, status, reason, with_body)
    protocol.send(page, monotonic())
    response.sent = len(page.partition(b"\r\n\r\n")[2])


def _page(protocol: HttpProtocol, status: str, reason: str, with_body: bool) -> bytes:
    page = error_page(status, reason, now_date(), with_body)
    return page.replace(b"HTTP/1.1", b"HTTP/1.0", 1) if protocol.server.is_1_0_only else page


def _environ_of_refused(protocol: HttpProtocol, exc: BadRequest) -> Environ:
    """What is known of a request that was refused, for its line in the log.

    That is its whole head, if it was refused for what it asks; else the words of its first line.
    """
    server, buffer = protocol.server, protocol.rfile.buffer
    connection = {**protocol.connection_environ(), REFUSED: str(exc)}
    try:
        found = take_head(buffer, server.limits, base=connection)
    except BadRequest:
        found = None
    if found is None:
        first, _, _ = buffer.lstrip(b"\r\n").partition(b"\n")
        put_words(connection, first[: server.limits.max_line].rstrip(b"\r").decode("latin-1"))
        return connection
    line, fields, _ = found
    environ = request_environ(line, fields, line.authority or "")
    if fields.forwarded is not None:
        with suppress(BadRequest):
            server.proxies.correct(environ, fields.forwarded, protocol.address)
    return environ
