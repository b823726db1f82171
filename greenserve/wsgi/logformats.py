"""Access lines that are no format of atoms: JSON for machines, and a short one for a person at a terminal.

Each is a function from a `Record` to one line, as `AccessLog` takes it for its ``log_format``.

Source of the names: OpenTelemetry's semantic conventions for HTTP and its neighbours (https://opentelemetry.io), and
W3C Trace Context for ``traceparent``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from greenserve.wsgi.accesslog import Record, escape
from greenserve.wsgi.requestids import REQUEST_ID

__all__ = ["format_for_terminal", "format_json"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")

_PORT = re.compile(r"[0-9]{1,5}")

# Attribute: the variable of environ that it is.
_VARIABLES = (
    ("http.request.method", "REQUEST_METHOD"),
    ("url.scheme", "wsgi.url_scheme"),
    ("url.path", "RAW_PATH_INFO"),
    ("url.query", "QUERY_STRING"),
    ("user_agent.original", "HTTP_USER_AGENT"),
    ("http.request.header.referer", "HTTP_REFERER"),
    ("http.request.id", REQUEST_ID),
)

# As they stand in a line of JSON, where no reader may take them for the end of one.
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


def format_json(record: Record) -> str:
    """``record`` as one object of JSON, all in ASCII. What a request did not have is left out."""
    environ = record.environ
    line: dict[str, Any] = {
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "client.address": record.client,
    }
    port = str(environ.get("REMOTE_PORT", ""))
    if _PORT.fullmatch(port):
        line["client.port"] = int(port)
    # A server's name and its port are two attributes. What is no host, of a request that was refused, is shown whole.
    host = str(environ.get("HTTP_HOST", ""))
    name, _, port = host.rpartition(":")
    if name and _PORT.fullmatch(port):
        host, line["server.port"] = name, int(port)
    if host:
        line["server.address"] = host
    for attribute, variable in _VARIABLES:
        value = environ.get(variable)
        if value:
            line[attribute] = value
    protocol = environ.get("SERVER_PROTOCOL")
    if protocol and isinstance(protocol, str):
        line["network.protocol.version"] = protocol.removeprefix("HTTP/")
    if record.status:
        line["http.response.status_code"] = int(record.status)
    line["http.response.body.size"] = record.sent
    line["http.server.request.duration"] = round(record.seconds, 6)
    trace = _TRACEPARENT.fullmatch(str(environ.get("HTTP_TRACEPARENT", "")))
    if trace:
        line["trace_id"], line["span_id"] = trace.groups()
    return _encode(line)


_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_BOLD = "\x1b[1m"
# By the first digit of the status.
_COLOURS = {"1": "\x1b[36m", "2": "\x1b[32m", "3": "\x1b[36m", "4": "\x1b[33m", "5": "\x1b[31m"}


def format_for_terminal(colours: bool) -> Callable[[Record], str]:
    """Return what makes a short line of a record: the time of day, the status, how long it took, and what it was."""

    def format_record(record: Record) -> str:
        environ = record.environ
        method = escape(str(environ.get("REQUEST_METHOD") or "-"))
        target = escape(str(environ.get("RAW_URI") or "-"))
        status = record.status or "---"
        time = datetime.now().astimezone().strftime("%H:%M:%S")
        took = f"{_duration(record.seconds):>7}"
        who = escape(record.client)
        if colours:
            time, took, who = (f"{_DIM}{text}{_RESET}" for text in (time, took, who))
            status = f"{_COLOURS.get(status[0], '')}{status}{_RESET}"
            method = f"{_BOLD}{method}{_RESET}"
        return f"{time} {status} {took} {method} {target} {who}"

    return format_record


def _duration(seconds: float) -> str:
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
