"""The page, as a WSGI application: three files, a state in JSON, and a stream of events. Only tells; takes no orders.

Nobody is asked for a password, so the address is what keeps strangers out. A name in DNS that leads to the loopback
would let a foreign page in through the browser: requests whose Host is neither an address nor localhost are refused,
unless the page is public anyway.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

from greenserve._look import LOOK
from greenserve.admin.history import History
from greenserve.core.waiters import sleep

__all__ = ["AdminApp"]

_STYLE = "/page.css"
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    _STYLE: ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_COMMON = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]


class AdminApp:
    """The application.

    Args:
        history: What is shown.
        is_public: Any Host will do.
        interval: How many seconds lie between two events.
    """

    def __init__(self, history: History, is_public: bool, interval: float = 1.0) -> None:
        self._history = history
        self._is_public = is_public
        self._interval = interval
        folder = resources.files(__package__)
        self._files = {
            path: (folder.joinpath(name).read_bytes(), content_type) for path, (name, content_type) in _FILES.items()
        }
        style, content_type = self._files[_STYLE]
        self._files[_STYLE] = LOOK.encode() + style, content_type

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", b"GET or HEAD\n", extra=[("Allow", "GET, HEAD")])
        if not (self._is_public or is_local(environ.get("HTTP_HOST", ""))):
            return _answer(start_response, "403 Forbidden", b"ask for this page by its address, or as localhost\n")
        if path in self._files:
            body, content_type = self._files[path]
            return _answer(start_response, "200 OK", body, content_type)
        if path == "/state.json":
            return _answer(start_response, "200 OK", _encode(self._history.state()), "application/json")
        if path == "/events":
            start_response("200 OK", [("Content-Type", "text/event-stream"), *_COMMON])
            if environ["REQUEST_METHOD"] == "HEAD":
                return []
            environ["eventlet.set_idle"]()  # the end of the server need not wait for who looks at it
            return self._events()
        return _answer(start_response, "404 Not Found", b"there is no such page\n")

    def _events(self) -> Iterator[bytes]:
        """Yield the state as server-sent events (WHATWG HTML section 9.2), until the client leaves. May switch."""
        with_points = True
        while True:
            yield b"data: %b\n\n" % _encode(self._history.state(with_points))
            with_points = False
            sleep(self._interval)


def is_local(host: str) -> bool:
    """Whether a Host field names an address, or this machine: nothing that somebody else's DNS could have led here."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.strip("[]").lower()
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _encode(state: dict[str, Any]) -> bytes:
    return json.dumps(state, separators=(",", ":")).encode()


def _answer(
    start_response: Any,
    status: str,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    extra: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), *_COMMON, *extra]
    start_response(status, fields)
    return [body]
