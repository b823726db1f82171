"""Names and addresses, looked up in native threads. Knows no sockets.

The system's own resolver is asked, so that ``/etc/hosts``, ``nsswitch.conf`` and mDNS count; as many lookups run at
once as the thread pool has threads. What needs no lookup, a numeric address, is answered in place.
"""

from __future__ import annotations

import socket
from socket import AF_INET, AF_INET6, SOCK_STREAM, inet_pton
from typing import Any

from greenserve import _originals
from greenserve.net.threads import execute

__all__ = [
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "is_numeric",
    "resolve_address",
]

_NUMERIC_ANSWER = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

AddressInfo = tuple[Any, Any, int, str, Any]


def is_numeric(host: str) -> bool:
    """Whether ``host`` is an IPv4 or IPv6 address, perhaps with a zone as in ``fe80::1%eth0``: it needs no lookup."""
    family = AF_INET
    if ":" in host:
        family = AF_INET6
        host = host.partition("%")[0]
    try:
        inet_pton(family, host)
    except (OSError, ValueError):  # ValueError: a NUL, or no ASCII
        return False
    return True


def getaddrinfo(
    host: bytes | str | None,
    port: bytes | str | int | None,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """``socket.getaddrinfo`` in a native thread. May switch."""
    # A service by name is looked up too.
    if (host is None or (isinstance(host, str) and is_numeric(host))) and (
        port is None or isinstance(port, int) or (isinstance(port, str) and port.isdigit())
    ):
        return _originals.getaddrinfo(host, port, family, type, proto, flags)
    return execute(_originals.getaddrinfo, host, port, family, type, proto, flags)


def gethostbyname(hostname: str) -> str:
    """``socket.gethostbyname`` in a native thread. May switch."""
    if ":" not in hostname and is_numeric(hostname):
        return hostname
    return execute(_originals.gethostbyname, hostname)


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """``socket.gethostbyname_ex`` in a native thread. May switch."""
    return execute(_originals.gethostbyname_ex, hostname)


def gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    """``socket.gethostbyaddr`` in a native thread. May switch."""
    return execute(_originals.gethostbyaddr, ip_address)


def getnameinfo(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """``socket.getnameinfo`` in a native thread. May switch."""
    if flags & _NUMERIC_ANSWER == _NUMERIC_ANSWER and is_numeric(sockaddr[0]):
        return _originals.getnameinfo(sockaddr, flags)
    return execute(_originals.getnameinfo, sockaddr, flags)


def resolve_address(family: int, address: Any) -> Any:
    """Return ``address`` with a numeric host, if it is one of ``family`` with a name in it. May switch.

    The C methods of a socket look a name up themselves, and the whole thread waits. Everything else, wrong or right, is
    returned as it is: they know best what to say about it.

    Raises:
        socket.gaierror: There is no such name in this family.
    """
    if family != AF_INET and family != AF_INET6:
        return address
    if not isinstance(address, tuple) or not address:
        return address
    host = address[0]
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "surrogateescape")
    # "" is any address, and "<broadcast>" the one that reaches all (the module socket's own notation).
    if not isinstance(host, str) or host in {"", "<broadcast>"} or is_numeric(host):
        return address
    found = getaddrinfo(host, None, family, SOCK_STREAM)[0][4]
    if len(address) < 4 and len(found) == 4 and found[3]:
        return (found[0], *address[1:2], *(address[2:] or (0,)), found[3])
    return (found[0], *address[1:])
