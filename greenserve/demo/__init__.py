"""What the command serves when it is given no application: a page about the request that fetched it.

A plain WSGI application that any server could run. What it knows of this one is the chain of names that a request
goes down, ``headers_raw`` in environ, and ``sleep``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import string
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from importlib import resources
from typing import Any
from urllib.parse import quote

from greenserve._look import LOOK
from greenserve._version import __version__
from greenserve.core import sleep

__all__ = ["app"]

# An event is sent this often. A stream ends after a while and the browser comes again at once, so that a graceful
# stop of the server never waits longer than that for an open page.
TICK_SECONDS = 0.1
STREAM_SECONDS = 4.0

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer ``/headers``, ``/clock`` and ``/health``, and every other path with the page (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/headers":
        return _respond(start_response, "application/json", json.dumps(Request(environ).as_json(), indent=2) + "\n")
    if path == "/health":
        return _respond(start_response, "application/json", '{"status": "ok"}\n')
    if path == "/clock":
        start_response("200 OK", [("Content-Type", "text/event-stream"), *_COMMON])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else _ticks()
    if path == "/favicon.ico":
        return _respond(start_response, "text/plain; charset=utf-8", "The page carries its icon.\n", "404 Not Found")
    request = Request(environ)
    # Browsers name text/html, and curl takes anything.
    if "text/html" in environ.get("HTTP_ACCEPT", ""):
        return _respond(start_response, "text/html; charset=utf-8", _render_page(request))
    return _respond(start_response, "text/plain; charset=utf-8", _render_text(request))


class Field:
    """One header field.

    Attributes:
        name: As received, in the sender's case.
        value: As received, as latin-1.
        key: Its key in environ.
        note: How environ's value differs, or an empty text where it doesn't.
    """

    __slots__ = ("key", "name", "note", "value")

    def __init__(self, name: str, value: str, environ: dict[str, Any]) -> None:
        self.name = name
        self.value = value
        key = name.upper().replace("-", "_")
        self.key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        in_environ = environ.get(self.key)
        if in_environ is None or "_" in name:
            self.note = "not in environ"
        elif in_environ != value:
            self.note = f"joined: {in_environ}"
        else:
            self.note = ""


class Request:
    """What a request looks like to the application, for a person to read."""

    __slots__ = ("fields", "frames", "host", "method", "peer", "protocol", "server", "target")

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.protocol: str = environ["SERVER_PROTOCOL"]
        self.target: str = environ.get("RAW_URI") or _build_target(environ)
        self.peer = _join_address(environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", ""))
        self.server = _join_address(environ["SERVER_NAME"], environ["SERVER_PORT"])
        self.host: str = environ.get("HTTP_HOST", self.server)
        self.fields = [Field(name, value, environ) for name, value in environ.get("headers_raw", ())]
        self.frames = _list_frames()

    @property
    def line(self) -> str:
        return f"{self.method} {self.target} {self.protocol}"

    def as_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "target": self.target,
            "protocol": self.protocol,
            "peer": self.peer,
            "server": self.server,
            "fields": [{"name": field.name, "value": field.value, "environ": field.key} for field in self.fields],
        }


def _build_target(environ: dict[str, Any]) -> str:
    path = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
    query = environ.get("QUERY_STRING")
    return quote(path.encode("latin-1")) + (f"?{query}" if query else "")


def _join_address(host: str, port: str) -> str:
    # A Unix socket has neither.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if port else host or "a Unix socket"


def _list_frames() -> list[tuple[str, str]]:
    """Return the Python frames that this request stands on, the application first: (function, place)."""
    frames = []
    for frame, line in traceback.walk_stack(sys._getframe(1)):
        code = frame.f_code
        module = frame.f_globals.get("__name__", "?")
        if module != __name__ or code.co_name == "app":
            function = getattr(code, "co_qualname", code.co_name)  # 3.10 has no qualified names here
            frames.append((function, f"{module}, line {line}"))
    return frames


def _ticks() -> Iterator[bytes]:
    """Yield the time as server-sent events (WHATWG HTML section 9.2). May switch.

    Each says when it is, and by how many milliseconds the hub woke this green thread late.
    """
    yield b"retry: 100\n\n"
    start = time.monotonic()
    for tick in range(int(STREAM_SECONDS / TICK_SECONDS)):
        due = start + tick * TICK_SECONDS
        sleep(max(0.0, due - time.monotonic()))
        late = (time.monotonic() - due) * 1000
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        yield f'data: {{"now": "{now}", "late": {late:.3f}}}\n\n'.encode()


def _respond(start_response: StartResponse, content_type: str, text: str, status: str = "200 OK") -> list[bytes]:
    body = text.encode("utf-8", "replace")
    fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), *_COMMON]
    if content_type.startswith("text/html"):
        fields.append(("Content-Security-Policy", _POLICY))
    start_response(status, fields)
    return [body]


_CHAIN = """\
wsgi.server(listener, app)
  HttpProtocol(...)
    .handle()
      .handle_one_request()
        self.rfile
          readinto()
            GreenSocket.recv_into()
              hub
"""


def _render_text(request: Request) -> str:
    width = max((len(f"{field.name}: {field.value}") for field in request.fields), default=0)
    fields = [
        f"{f'{field.name}: {field.value}':{min(width, 60)}}  {field.key}{field.note and f' ({field.note})'}"
        for field in request.fields
    ]
    return "\n".join(
        [
            f"greenserve {__version__}",
            "",
            request.line,
            f"from {request.peer} to {request.server}",
            "",
            "Its path:",
            _CHAIN,
            "Its fields as received, and their keys in environ:",
            *fields,
            "",
        ]
    )


def _render_row(field: Field) -> str:
    key = html.escape(field.key).replace("_", "_<wbr>")
    note = f"<small>{html.escape(field.note)}</small>" if field.note else ""
    name, value = html.escape(field.name), html.escape(field.value)
    return f'<tr><th scope="row">{name}</th><td>{value}</td><td>{key}{note}</td></tr>\n'


def _render_page(request: Request) -> str:
    return _PAGE.substitute(
        version=__version__,
        style=_STYLE,
        script=_SCRIPT,
        method=html.escape(request.method),
        target=html.escape(request.target),
        protocol=html.escape(request.protocol),
        peer=html.escape(request.peer),
        server=html.escape(request.server),
        host=html.escape(request.host),
        count=len(request.fields),
        rows="".join(map(_render_row, request.fields)),
        frames="".join(
            f"<li>{html.escape(function)} <span>{html.escape(place)}</span></li>\n"
            for function, place in request.frames
        ),
        now=datetime.now(timezone.utc).strftime("%H:%M:%S"),
    )


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def _hash_source(text: str) -> str:
    """Return the source expression that allows one inline block (CSP level 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_PAGE = string.Template(_read("page.html"))
_STYLE = LOOK + _read("page.css")
_SCRIPT = _read("page.js")

_POLICY = (
    f"default-src 'none'; style-src {_hash_source(_STYLE)}; script-src {_hash_source(_SCRIPT)}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_COMMON = [
    ("Cache-Control", "no-store"),
    ("Vary", "Accept"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]
