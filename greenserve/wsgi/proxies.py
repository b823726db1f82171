"""What trusted proxies say of a request: who the client is, and by which scheme and host it asked. Pure.

Takes the forwarded fields of one request and its peer; knows no connection and no environ but the dict that it
corrects.

Facts this rests on:

- Each proxy adds the address of its own peer at the right end of X-Forwarded-For and of Forwarded (RFC 7239 section
  5.2). What stands further left came to it from that peer, who may have made it up.
- Forwarded is a list of elements, each of pairs, with quoted strings (RFC 7239 section 4). An IPv6 address stands in
  brackets and quotes; ``unknown`` and names that begin with ``_`` hide an address (section 6).
- X-Forwarded-* have no specification. Values may have a port, an IPv6 address has brackets only then.
- A proxy passes on the fields that it does not know, as its client has sent them.

What this means for us: the list is read from its right end, over the addresses that are trusted themselves. The first
one that is not is the client. Where scheme and host are lists, the entry of the same proxy counts. Of a trusted proxy
only those fields count that its owner has named as the ones that it sets. Of these, what can't be read, and what two
say differently, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from greenserve._kinds import Network, normal_address
from greenserve.errors import BadRequest
from greenserve.http.memo import Memo
from greenserve.http.target import is_authority

__all__ = ["Origin", "Proxies", "Trust", "correct", "find_origin", "parse_forwarded"]


class Trust:
    """A set of peers.

    Args:
        text: Addresses and networks with commas between them; ``*`` is everybody, ``unix`` the peers on Unix sockets.
            Those are in it with 127.0.0.1 too, since they are on this machine as well. ``""`` is nobody.

    Raises:
        ValueError: The text is something else.
    """

    __slots__ = ("_decisions", "_has_unix", "_networks", "is_everybody")

    def __init__(self, text: str) -> None:
        items = [item.strip() for item in text.split(",")] if text.strip() else []
        self.is_everybody = "*" in items
        self._networks = [Network(item) for item in items if item not in ("*", "unix")]
        self._has_unix = "unix" in items or self._includes_address("127.0.0.1")
        self._decisions = Memo(self._includes_address, max_entries=1024, max_length=64)

    def __bool__(self) -> bool:
        return self.is_everybody or self._has_unix or bool(self._networks)

    def includes(self, peer: Any) -> bool:
        """Whether ``peer`` is in it: an address as text, or what ``getpeername`` gave."""
        if self.is_everybody:
            return True
        if isinstance(peer, tuple):
            peer = peer[0]
        elif not isinstance(peer, str) or not peer or "/" in peer or peer[0] == "\0":
            return self._has_unix
        return self._decisions[peer]

    def _includes_address(self, text: str) -> bool:
        try:
            address = normal_address(text.partition("%")[0])
        except ValueError:
            return False
        return any(network.includes(address) for network in self._networks)


class Origin(NamedTuple):
    """What the proxies say. None where they say nothing."""

    client: str | None = None  # the address, without brackets; "" if it is hidden
    client_port: str = ""
    scheme: str | None = None  # "http" or "https"
    host: str | None = None  # host[:port]
    port: str | None = None  # that the client connected to


class _Node(NamedTuple):
    """One hop."""

    address: str  # in its shortest spelling; "" if it is hidden
    port: str


# RFC 7239 section 6, and what is seen in X-Forwarded-For: an address alone, or with a port.
_NODE = re.compile(
    r"(?:(?P<hidden>unknown|unix:?|_[A-Za-z0-9._-]+)|(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}|_[A-Za-z0-9._-]+))?",
    re.IGNORECASE,
)

# A pair of RFC 7239 section 4 and what ends it. Tokens may have a colon and brackets, which should have been quoted.
_PAIR = re.compile(
    r"[ \t]*(?:(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    r"(?:(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+)"
    r'|"(?P<quoted>(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)")[ \t]*)?(?P<end>[;,]|\Z)'
)
_ESCAPED = re.compile(r"\\(.)")

# Some proxies tell the scheme of a WebSocket as its own.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Proxies:
    """The proxies in front of a server.

    Args:
        trust: Who they are.
        fields: The names of the fields that count. The others a proxy may pass on as the client has made them up: the
            server does not go by them, and leaves it to the app whether it does.
    """

    __slots__ = ("_counting", "_origins", "trust")

    def __init__(self, trust: Trust, fields: Iterable[str]) -> None:
        self.trust = trust
        self._counting = tuple("HTTP_" + name.upper().replace("-", "_") for name in fields)
        # By the values of the fields that count, a line for each: the same clients come again and again.
        self._origins = Memo(self._find_origin, max_entries=1024, max_length=256)

    def correct(self, environ: dict[str, Any], forwarded: Mapping[str, str], peer: Any) -> None:
        """Put the forwarded fields of a request into ``environ``, and what they say, if its peer is a proxy.

        Args:
            environ: The request's, without them.
            forwarded: The variables of its forwarded fields.
            peer: Who has sent it, as `Trust.includes` takes it.

        Raises:
            BadRequest: A field that counts is malformed, or Forwarded says something else than X-Forwarded-*.
        """
        if self.trust.includes(peer):
            environ.update(forwarded)
            values = "\n".join([forwarded.get(name, "") for name in self._counting])
            correct(environ, self._origins[values])

    def _find_origin(self, values: str) -> Origin:
        # An empty field says what an absent one does: nothing.
        return find_origin(dict(zip(self._counting, values.split("\n"), strict=False)), self.trust)


def find_origin(forwarded: Mapping[str, str], trust: Trust) -> Origin:
    """Return what ``forwarded`` says of a request that came from a trusted peer.

    Args:
        forwarded: The variables of the forwarded fields: HTTP_FORWARDED, HTTP_X_FORWARDED_FOR and so on.
        trust: Whose word counts. The peer's does.

    Raises:
        BadRequest: A field that counts is malformed, or Forwarded says something else than X-Forwarded-*.
    """
    found = _origin_of_x_fields(forwarded, trust)
    if "HTTP_FORWARDED" in forwarded:
        found = _agree(found, _origin_of_forwarded(forwarded["HTTP_FORWARDED"], trust))
    return found


def correct(environ: dict[str, Any], origin: Origin) -> None:
    """Put what the proxies say in place of what the connection says."""
    if origin.client is not None:
        environ["REMOTE_ADDR"] = origin.client
        environ["REMOTE_PORT"] = origin.client_port
    if origin.scheme is not None:
        environ["wsgi.url_scheme"] = origin.scheme
        environ.pop("HTTPS", None)
        if origin.scheme == "https":
            environ["HTTPS"] = "on"
    default_port = _DEFAULT_PORTS.get(environ["wsgi.url_scheme"], "")
    host = environ.get("HTTP_HOST", "") if origin.host is None else origin.host
    name, port = _split_authority(host)
    if origin.port is not None:
        environ["SERVER_PORT"] = origin.port
        if name and not port and origin.port != default_port:
            host = f"{host}:{origin.port}"
    elif origin.host is not None:
        environ["SERVER_PORT"] = port or default_port
    if origin.host is not None:
        environ["SERVER_NAME"] = name
    if host:
        environ["HTTP_HOST"] = host


def parse_forwarded(text: str) -> list[dict[str, str]]:
    """Return the elements of a Forwarded field: values by name in lower case, unquoted.

    Raises:
        BadRequest: It is outside the grammar, or an element has a name twice.

    Source: RFC 7239 section 4. Whitespace around ``;`` and the characters of an address without quotes are let pass.
    """
    elements: list[dict[str, str]] = []
    pairs: dict[str, str] = {}
    position = 0
    while True:
        match = _PAIR.match(text, position)
        if match is None:
            raise BadRequest("bad Forwarded field")
        if match["name"] is not None:
            name = match["name"].lower()
            if name in pairs:
                raise BadRequest("a parameter stands twice in one element of Forwarded")
            quoted = match["quoted"]
            pairs[name] = match["token"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        if match["end"] != ";":
            if pairs:  # RFC 9110 section 5.6.1.2: empty elements of a list don't count
                elements.append(pairs)
            pairs = {}
        position = match.end()
        if not match["end"]:
            return elements


def _origin_of_x_fields(forwarded: Mapping[str, str], trust: Trust) -> Origin:
    hops = _items(forwarded.get("HTTP_X_FORWARDED_FOR", ""))
    client, depth = _walk(hops, trust)
    scheme = _entry(forwarded.get("HTTP_X_FORWARDED_PROTO", ""), depth)
    host = _entry(forwarded.get("HTTP_X_FORWARDED_HOST", ""), depth)
    port = _entry(forwarded.get("HTTP_X_FORWARDED_PORT", ""), depth)
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port) and int(port) <= 65535):
        raise BadRequest("bad X-Forwarded-Port")
    return _checked(client, scheme, host, port)


def _origin_of_forwarded(text: str, trust: Trust) -> Origin:
    elements = parse_forwarded(text)
    client, depth = _walk([element.get("for") for element in elements], trust)
    # The proxy nearest to the client that says it, of those that are trusted.
    counting = elements[-depth:] if elements else []
    scheme = next((element["proto"] for element in counting if "proto" in element), None)
    host = next((element["host"] for element in counting if "host" in element), None)
    return _checked(client, scheme, host, None)


def _walk(hops: Sequence[str | None], trust: Trust) -> tuple[_Node | None, int]:
    """Return the client, and how far from the right end of ``hops`` it stands, at least 1. None: nobody says."""
    client = None
    depth = 1
    for depth, text in enumerate(reversed(hops), 1):
        if text is None:
            return (None if depth == 1 else _Node("", "")), depth
        client = _parse_node(text)
        if not (trust.is_everybody or (client.address and trust.includes(client.address))):
            break
    return client, depth


def _parse_node(text: str) -> _Node:
    try:
        match = _NODE.fullmatch(text)
        if match is None:
            return _Node(normal_address(text), "")  # IPv6 without brackets
        port = match["port"] or ""
        if match["hidden"]:
            return _Node("", "")
        if port.isdigit() and int(port) > 65535:
            raise ValueError
        return _Node(normal_address(match["v4"] or match["v6"]), port if port.isdigit() else "")
    except ValueError:
        raise BadRequest("a forwarded field names a client that is no address") from None


def _checked(client: _Node | None, scheme: str | None, host: str | None, port: str | None) -> Origin:
    if scheme is not None:
        scheme = _SCHEMES.get(scheme.lower())
        if scheme is None:
            raise BadRequest("a forwarded field has a scheme other than http and https")
    if host is not None and not is_authority(host):
        raise BadRequest("a forwarded field has a bad host")
    if client is None:
        return Origin(None, "", scheme, host, port)
    return Origin(client.address, client.port, scheme, host, port)


def _agree(one: Origin, other: Origin) -> Origin:
    for name in ("client", "scheme", "host"):
        first, second = getattr(one, name), getattr(other, name)
        if first is not None and second is not None and first != second:
            raise BadRequest("Forwarded and X-Forwarded-* contradict each other")
    return Origin(
        other.client if one.client is None else one.client,
        one.client_port or other.client_port,
        other.scheme if one.scheme is None else one.scheme,
        other.host if one.host is None else one.host,
        one.port,
    )


def _items(text: str) -> list[str]:
    return [item for item in [part.strip(" \t") for part in text.split(",")] if item] if text else []


def _entry(text: str, depth: int) -> str | None:
    """The entry that the proxy ``depth`` hops away has made; the first one if each has replaced what there was."""
    items = _items(text)
    return items[-min(depth, len(items))] if items else None


def _split_authority(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    return (host, port) if colon and not port.endswith("]") else (authority, "")
