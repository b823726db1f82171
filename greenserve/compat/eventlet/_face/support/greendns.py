"""``eventlet.support.greendns``: looking names up, by the system's resolver in native threads."""

from __future__ import annotations

import socket
from typing import Any

from greenserve.net import resolver

__all__ = [
    "getaddrinfo",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "is_ip_addr",
    "is_ipv4_addr",
    "is_ipv6_addr",
]

getaddrinfo = resolver.getaddrinfo
gethostbyname = resolver.gethostbyname
gethostbyname_ex = resolver.gethostbyname_ex
getnameinfo = resolver.getnameinfo


def is_ip_addr(host: Any) -> bool:
    """Whether ``host`` is an IP address."""
    return is_ipv4_addr(host) or is_ipv6_addr(host)


def is_ipv4_addr(host: Any) -> bool:
    """Whether ``host`` is an IPv4 address."""
    return _is_address(socket.AF_INET, host)


def is_ipv6_addr(host: Any) -> bool:
    """Whether ``host`` is an IPv6 address, perhaps with a zone."""
    return _is_address(socket.AF_INET6, host.split("%" if isinstance(host, str) else b"%", 1)[0])


def _is_address(family: int, host: Any) -> bool:
    try:
        socket.inet_pton(family, host.decode() if isinstance(host, bytes) else host)
    except (OSError, ValueError):
        return False
    return True
