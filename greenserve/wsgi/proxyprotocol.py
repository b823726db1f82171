"""The PROXY protocol: a proxy says who its client is before the client's first byte, TLS or not.

`parse_header` is pure: bytes in, a header out. `read_header` takes one from a socket, and not a byte more, so that
whatever comes next (TLS, HTTP) finds its own first byte.

Facts this rests on (the PROXY protocol's specification, versions 1 and 2):

- Version 1 is a line of at most 107 bytes, CRLF included: ``PROXY TCP4 192.0.2.1 198.51.100.1 56324 443``. Behind
  ``UNKNOWN`` a proxy may say what it likes.
- Version 2 begins with 12 bytes that are no text protocol's, then version and command, family and transport, and the
  length of what follows: the addresses, and perhaps more, as type, length and value.
- LOCAL, UNKNOWN and the family UNSPEC mean that the connection is the proxy's own, for a health check; the addresses
  are those of the connection itself.
- A receiver must be told which connections begin so. To guess would let any client say who it is.
"""

from __future__ import annotations

import re
import struct
from socket import AF_INET6, MSG_PEEK, inet_ntop
from typing import Any, NamedTuple

from greenserve._kinds import normal_address
from greenserve.errors import GreenserveError
from greenserve.net.sockets import GreenSocket

__all__ = ["BadProxyHeader", "ProxyHeader", "parse_header", "read_header"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16  # bytes of version 2 that come before the addresses

_MAX_LINE = 107  # bytes of version 1, with CRLF

# One space between the parts, and ports as numbers without a sign or a zero in front.
_LINE = re.compile(
    rb"PROXY (?:(?P<unknown>UNKNOWN)(?: [^\0\r\n]*)?"
    rb"|(?P<family>TCP4|TCP6) (?P<source>[0-9A-Fa-f:.]+) (?P<destination>[0-9A-Fa-f:.]+)"
    rb" (?P<source_port>0|[1-9][0-9]{0,4}) (?P<destination_port>0|[1-9][0-9]{0,4}))\r\n"
)

# The high half of the byte is the address family, the low half the transport: stream or datagram.
_UNSPEC, _INET, _INET6, _UNIX = 0, 1, 2, 3
_ADDRESS_BYTES = {_UNSPEC: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class BadProxyHeader(GreenserveError):
    """The connection does not begin as the PROXY protocol wants it."""


class ProxyHeader(NamedTuple):
    """What a proxy says of a connection."""

    length: int  # of the header in bytes
    source: Any  # the client's address, as getpeername would give it; None: the connection's own
    destination: Any  # what the client connected to, likewise


def parse_header(data: bytes, version: str = "auto") -> ProxyHeader | None:
    """Return the header at the beginning of ``data``, or None while it is not complete.

    Args:
        data: What was received so far.
        version: ``v1``, ``v2``, or ``auto`` for either.

    Raises:
        BadProxyHeader: ``data`` begins otherwise. Told at the first byte that shows it.
    """
    if version != "v1" and data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _parse_binary(data)
    if version != "v2" and data[:6] == b"PROXY "[: len(data)]:
        return _parse_line(data)
    raise BadProxyHeader(f"no PROXY protocol header, or one of another version than {version}")


def read_header(conn: GreenSocket, version: str) -> ProxyHeader | None:
    """Take the header from ``conn``, which may be a TLS socket before its handshake. None: the peer left. May switch.

    Raises:
        BadProxyHeader: The connection begins otherwise.
    """
    data = b""
    while True:
        # Looked at first, and then taken exactly. What is not the whole header belongs to it in any case.
        piece = GreenSocket.recv(conn, 65536, MSG_PEEK)
        if not piece:
            return None
        header = parse_header(data + piece, version)
        taken = len(piece) if header is None else header.length - len(data)
        data += GreenSocket.recv(conn, taken)
        if header is not None:
            return header


def _parse_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, _MAX_LINE) + 1
    if not end:
        if len(data) >= _MAX_LINE:
            raise BadProxyHeader("the PROXY line is too long")
        if b"\0" in data or b"\r" in data[:-1]:
            raise BadProxyHeader("bad PROXY line")
        return None
    match = _LINE.fullmatch(data[:end])
    if match is None:
        raise BadProxyHeader("bad PROXY line")
    if match["unknown"]:
        return ProxyHeader(end, None, None)
    is_v6 = match["family"] == b"TCP6"
    source = _text_address(match["source"], match["source_port"], is_v6)
    return ProxyHeader(end, source, _text_address(match["destination"], match["destination_port"], is_v6))


def _text_address(host: bytes, port: bytes, is_v6: bool) -> tuple[Any, ...]:
    text = host.decode("ascii")
    try:
        normal = normal_address(text)
    except ValueError:
        raise BadProxyHeader("the PROXY line has a bad address") from None
    if (":" in text) != is_v6 or int(port) > 65535:
        raise BadProxyHeader("the PROXY line has an address of another family, or a bad port")
    return normal, int(port)


def _parse_binary(data: bytes) -> ProxyHeader | None:
    if len(data) > 12 and data[12] not in (0x20, 0x21):
        raise BadProxyHeader("a PROXY header of an unknown version or command")
    if len(data) > 13 and (data[13] >> 4 > _UNIX or data[13] & 0xF > 2):
        raise BadProxyHeader("a PROXY header of an unknown address family")
    if len(data) < _FIXED:
        return None
    family = data[13] >> 4
    (length,) = struct.unpack_from("!H", data, 14)
    is_local = data[12] == 0x20
    if not is_local and length < _ADDRESS_BYTES[family]:
        raise BadProxyHeader("a PROXY header that is too short for its addresses")
    end = _FIXED + length
    if len(data) < end:
        return None
    if is_local or family == _UNSPEC or not data[13] & 0xF:
        return ProxyHeader(end, None, None)
    return ProxyHeader(end, *_binary_addresses(family, data[_FIXED:end]))


def _binary_addresses(family: int, block: bytes) -> tuple[Any, Any]:
    if family == _UNIX:
        return _path(block[:108]), _path(block[108:216])
    size = 4 if family == _INET else 16
    ports = struct.unpack_from("!HH", block, 2 * size)
    hosts = [block[:size], block[size : 2 * size]]
    source, destination = ((_host(host), port) for host, port in zip(hosts, ports))
    return source, destination


def _host(packed: bytes) -> str:
    if len(packed) == 4:
        return ".".join(map(str, packed))
    return normal_address(inet_ntop(AF_INET6, packed))


def _path(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
