"""Names and addresses, looked up in native threads. Knows no sockets.

The system's own resolver is asked, so that ``/etc/hosts``, ``nsswitch.conf`` and mDNS count; as many lookups run at
once as the thread pool has threads. What needs no lookup, a numeric address, is answered in place.

`cache_names` lets answers be used again. By default each lookup asks the system, which may well have a cache of its
own, and knows how long an answer holds; what is asked through here does not tell.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from enum import IntEnum, IntFlag
from socket import AF_INET, AF_INET6, SOCK_STREAM, inet_pton

from greenserve import _originals
from greenserve._originals import monotonic
from greenserve._typing import Any
from greenserve.net.threads import execute

__all__ = [
    "cache_names",
    "getaddrinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "is_numeric",
    "resolve_address",
]

_PLAIN = (str, bytes, int, type(None))

_NUMERIC_ANSWER = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

AddressInfo = tuple[Any, Any, int, str, Any]


class _Cache:
    """Answers by question, the oldest first. Every method may be called from any OS thread, and takes no lock."""

    __slots__ = ("_answers", "max_age", "size")

    def __init__(self, max_age: float, size: int) -> None:
        self.max_age = max_age
        self.size = size
        self._answers: dict[object, tuple[float, Any]] = {}  # a monotonic deadline, and the answer

    def find(self, question: object) -> Any:
        """Return the answer to ``question``, or None."""
        deadline, answer = self._answers.get(question, (0.0, None))
        return answer if monotonic() < deadline else None

    def keep(self, question: object, answer: Any) -> None:
        answers = self._answers
        answers.pop(question, None)  # so that it comes last
        answers[question] = monotonic() + self.max_age, answer
        while len(answers) > self.size:
            try:
                oldest = next(iter(answers))
            except (StopIteration, RuntimeError):
                continue  # another OS thread has taken it, or put one in just now
            answers.pop(oldest, None)


class _Caching:
    """What `cache_names` was last told."""

    __slots__ = ("cache",)

    def __init__(self) -> None:
        self.cache: _Cache | None = None


_caching = _Caching()


def cache_names(max_age: float | None, size: int = 1000) -> None:
    """Use the addresses of a name again for ``max_age`` seconds. None, the default: ask the system each time.

    In the whole process, for ``getaddrinfo``, ``gethostbyname``, ``gethostbyname_ex`` and all that looks names up by
    them, such as `greenserve.connect`. A name that was not found is looked up again. It begins empty with each call.

    Args:
        size: How many answers are kept; beyond that the oldest are dropped.

    Raises:
        ValueError: ``max_age`` or ``size`` is not positive.
    """
    if max_age is not None and not max_age > 0:
        raise ValueError(f"cache_names({max_age!r}): give a number of seconds, more than 0, or None for no cache")
    if size < 1:
        raise ValueError(f"cache_names(..., size={size!r}): a cache has room for at least 1")
    _caching.cache = None if max_age is None else _Cache(max_age, size)


def _look_up(function: Callable[..., Any], *args: Any) -> Any:
    """Return ``function(*args)``, called in a native thread, or what it has returned before. May switch."""
    cache = _caching.cache
    # 80, 80.0 and True would be one question; what is neither number nor text is wrong, and not ours to answer.
    if cache is None or not all(type(arg) in _PLAIN or isinstance(arg, (IntEnum, IntFlag)) for arg in args):
        return execute(function, *args)
    question = (function, args)
    answer = cache.find(question)
    if answer is None:
        answer = execute(function, *args)
        cache.keep(question, answer)
    return answer


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
    found = _look_up(_originals.getaddrinfo, host, port, family, type, proto, flags)
    return list(found)  # whose order a caller may change


def gethostbyname(hostname: str) -> str:
    """``socket.gethostbyname`` in a native thread. May switch."""
    if ":" not in hostname and is_numeric(hostname):
        return hostname
    address: str = _look_up(_originals.gethostbyname, hostname)
    return address


def gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    """``socket.gethostbyname_ex`` in a native thread. May switch."""
    name, aliases, addresses = _look_up(_originals.gethostbyname_ex, hostname)
    return name, list(aliases), list(addresses)


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
