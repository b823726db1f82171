"""What a server is given, checked before it serves: a wrong value is told at once, with the keyword it came by.

Knows no connections.
"""

from __future__ import annotations

import errno
import logging
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from socket import SO_ACCEPTCONN, SOL_SOCKET
from typing import TYPE_CHECKING, Any

from greenserve import extras
from greenserve.errors import SettingError
from greenserve.net.sockets import GreenSocket
from greenserve.settings import SETTINGS, TLS
from greenserve.wsgi.accesslog import COMBINED, AccessLog, Logger, Record, TextFile

if TYPE_CHECKING:
    from ssl import SSLContext

    from greenserve.wsgi.tls import Handshaker

__all__ = [
    "access_log_of",
    "check_class",
    "check_environ",
    "check_flags",
    "check_listening",
    "check_methods",
    "handshaker_of",
    "is_1_0_only",
    "least_size",
    "listeners_of",
    "most_connections",
    "settings_of",
]

# Files the process needs beside its connections: listeners, logs, the app's own. A worker has a dozen before it serves,
# and an app that asks another server has one for each request. Of a small limit half: at 64 that is 32 connections.
_SPARE_FILES = 100


def listeners_of(given: Any) -> list[GreenSocket]:
    """The listening sockets in ``given``, which is one or several. Raises TypeError."""
    is_one = isinstance(given, GreenSocket) or not isinstance(given, Iterable)
    listeners: list[GreenSocket] = [given] if is_one else list(given)
    for listener in listeners:
        if not isinstance(listener, GreenSocket):
            raise TypeError(f"can't serve on {listener!r}: give what greenserve.listen(('127.0.0.1', 8000)) returns")
    return listeners


def check_listening(listener: GreenSocket) -> None:
    """Check that connections can be accepted.

    Raises:
        OSError: They never could: the socket is closed, or nobody has called its ``listen``.
    """
    if listener.fileno() < 0:
        raise OSError(errno.EBADF, f"can't serve on {listener!r}: it is closed")
    if not listener.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
        raise OSError(errno.EINVAL, f"can't serve on {listener!r}: it does not listen. Call its listen() first")


def settings_of(given: dict[str, Any], others: Iterable[str] = ()) -> dict[str, Any]:
    """The value of each setting of a server, by its name.

    Args:
        given: What was given as keywords. Those that are settings are taken out.
        others: The server's keywords that are no settings.

    Raises:
        TypeError: Some of ``given`` are neither.
        SettingError: A value is wrong.
    """
    values = {}
    for name, setting in SETTINGS.items():
        if setting.keyword_of == "server":
            values[name] = setting.parse(given.pop(name)) if name in given else setting.default
    if given:
        known = sorted([*values, *others])
        meant = extras.load(None, "greenserve._suggest").suggestion(min(given), known)
        raise TypeError(
            f"Server() takes no keyword {', '.join(sorted(given))}{meant or '; it takes ' + ', '.join(known)}"
        )
    return values


def handshaker_of(
    listeners: list[GreenSocket], ssl_context: SSLContext | None, values: dict[str, Any]
) -> Handshaker | None:
    """What does the TLS handshakes; None where no listener speaks TLS.

    Raises:
        SettingError: The settings of TLS do not go together.
    """
    given = [name for name, setting in SETTINGS.items() if setting.group == TLS and values[name] != setting.default]
    if ssl_context is None and given and values["certfile"] is None:
        raise SettingError(f"{', '.join(given)} without certfile: a server needs a certificate to speak TLS")
    if ssl_context is not None and given:
        raise SettingError(f"{', '.join(given)} beside ssl_context: the context says that already")
    if ssl_context is None and not given and not any(listener.is_tls for listener in listeners):
        return None
    handshaker: Handshaker = extras.load(None, "greenserve.wsgi.tls").Handshaker(ssl_context, values)
    return handshaker


def access_log_of(target: Logger | TextFile | None, log_format: str | Callable[[Record], str] | None) -> AccessLog:
    """Where requests are logged. Raises TypeError, and ValueError for a format that can't work."""
    if target is None:
        target = logging.getLogger("greenserve.access")
    elif not any(callable(getattr(target, name, None)) for name in ("info", "write")):
        raise TypeError(f"log={target!r} is neither a logger nor a file: it has no info() and no write()")
    if not (log_format is None or isinstance(log_format, str) or callable(log_format)):
        raise TypeError(f"log_format={log_format!r} is neither a format such as '%(h)s %(r)s' nor a function")
    return AccessLog(target, log_format or COMBINED)


def check_flags(**flags: object) -> None:
    """Check that each is on or off. Raises TypeError."""
    for name, value in flags.items():
        # Anything else has a truth, too: but "no" is true.
        if not (value is None or isinstance(value, int)):
            raise TypeError(f"{name}={value!r} is neither True nor False")


def check_environ(environ: object) -> None:
    """Check that it is variables. Raises TypeError."""
    if environ is not None and not isinstance(environ, Mapping):
        raise TypeError(f"environ={environ!r} is no dict of variables, such as {{'my.key': 1}}")


def check_class(name: str, value: object, base: type) -> None:
    """Check that ``value`` is ``base`` or a class made of it. Raises TypeError."""
    if not (isinstance(value, type) and issubclass(value, base)):
        raise TypeError(f"{name}={value!r} is no subclass of {base.__module__}.{base.__qualname__}")


def check_methods(name: str, value: object, *methods: str) -> None:
    """Check that ``value``, if it is not None, has these methods. Raises TypeError."""
    for method in methods:
        if value is not None and not callable(getattr(value, method, None)):
            raise TypeError(f"{name}={value!r} has no {method}()")


def least_size(minimum_chunk_size: object) -> int:
    """How many bytes of a streamed answer to collect; 0 for none. Raises TypeError and ValueError."""
    if minimum_chunk_size is None:
        return 0
    if not isinstance(minimum_chunk_size, int) or isinstance(minimum_chunk_size, bool):
        raise TypeError(f"minimum_chunk_size={minimum_chunk_size!r} is no number of bytes")
    if minimum_chunk_size < 0:
        raise ValueError(f"minimum_chunk_size={minimum_chunk_size!r} is below 0")
    return minimum_chunk_size


def is_1_0_only(max_http_version: object) -> bool:
    """Whether to speak nothing newer than HTTP/1.0; None is no limit, as to eventlet. Raises ValueError."""
    if max_http_version not in (None, "HTTP/1.0", "HTTP/1.1"):
        raise ValueError(f"max_http_version={max_http_version!r}: it is 'HTTP/1.1' or 'HTTP/1.0'")
    return max_http_version == "HTTP/1.0"


def most_connections() -> int:
    """How many connections the limit of open files has room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft - min(_SPARE_FILES, soft // 2)
