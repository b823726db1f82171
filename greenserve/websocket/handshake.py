"""The server's side of the opening handshake: an environ, and what to answer. Knows no sockets.

Source: RFC 6455 section 4.2.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

__all__ = [
    "Origins",
    "Refusal",
    "accept_key",
    "accepted",
    "check_origin",
    "check_request",
    "check_subprotocols",
    "choose_subprotocol",
]

# From which web pages to take connections: a list of origins and patterns of them, or a function that is asked.
Origins = Collection[str | re.Pattern[str]] | Callable[[str | None], bool]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# 16 bytes in base64.
_KEY = re.compile(r"[A-Za-z0-9+/]{21}[AQgw]==")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_USE_A_CLIENT = (
    "This address speaks WebSocket only: connect to it with a WebSocket client, such as a browser's WebSocket()."
)


class Refusal(NamedTuple):
    """An ordinary answer, instead of a connection."""

    status: str
    text: str
    fields: tuple[tuple[str, str], ...] = ()


def check_request(environ: dict[str, Any]) -> Refusal | None:
    """Say what is wrong with a request for a WebSocket; None if it is right."""
    if environ["REQUEST_METHOD"] != "GET":
        return Refusal("405 Method Not Allowed", _USE_A_CLIENT, (("Allow", "GET"),))
    if "websocket" not in _words(environ, "HTTP_UPGRADE") or "upgrade" not in _words(environ, "HTTP_CONNECTION"):
        return Refusal("400 Bad Request", _USE_A_CLIENT)
    if environ["SERVER_PROTOCOL"] == "HTTP/1.0":
        return Refusal("400 Bad Request", "A WebSocket begins with HTTP/1.1.")
    if environ.get("CONTENT_LENGTH", "") not in {"", "0"} or "HTTP_TRANSFER_ENCODING" in environ:
        # Who sits in between may take the body for frames, or frames for a body.
        return Refusal("400 Bad Request", "A request for a WebSocket has no body.")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        return Refusal(
            "400 Bad Request", "Sec-WebSocket-Version must be 13 (RFC 6455).", (("Sec-WebSocket-Version", "13"),)
        )
    if _KEY.fullmatch(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")) is None:
        return Refusal("400 Bad Request", "Sec-WebSocket-Key must be one key: 16 bytes in base64.")
    return None


def check_origin(environ: dict[str, Any], origins: Origins | None) -> Refusal | None:
    """Say that a page of this origin may not connect, unless it may.

    A list lets in what has no origin: programs have none, and could write what they like.
    """
    if origins is None:
        return None
    origin: str | None = environ.get("HTTP_ORIGIN")
    if callable(origins):
        allowed = origins(origin)
    else:
        allowed = origin is None or any(
            each.fullmatch(origin) is not None if isinstance(each, re.Pattern) else each.lower() == origin.lower()
            for each in origins
        )
    return None if allowed else Refusal("403 Forbidden", f"Pages of {origin} may not connect to this WebSocket.")


def choose_subprotocol(environ: dict[str, Any], supported: Sequence[str]) -> str | None:
    """Return the first of ``supported`` that the client offers. None is an answer too: the client decides then."""
    offered = {each.strip() for each in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")}
    return next((each for each in supported if each in offered), None)


def check_subprotocols(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of subprotocols as a tuple.

    Raises:
        TypeError: It is one name, and not a list of them.
        ValueError: One is no token, as HTTP has them.
    """
    if isinstance(names, str):
        raise TypeError(f"subprotocols={names!r}: give a list, such as [{names!r}]")
    for name in names:
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"a subprotocol called {name!r}: its name may have letters, digits and !#$%&'*+-.^_`|~")
    return tuple(names)


def accept_key(key: str) -> str:
    """Return the proof that a server has read the client's key and knows WebSocket."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest()).decode("ascii")


def accepted(environ: dict[str, Any], subprotocol: str | None, extensions: str | None) -> bytes:
    """Return the answer that opens a WebSocket, whole."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_key(environ['HTTP_SEC_WEBSOCKET_KEY'])}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if extensions is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extensions}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _words(environ: dict[str, Any], name: str) -> set[str]:
    return {word.strip().lower() for word in environ.get(name, "").split(",")}
