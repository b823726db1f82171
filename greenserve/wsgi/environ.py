"""A request's head as WSGI's environ. Pure: values in, a dict out; knows no connection.

Names come from PEP 3333, RFC 3875 (CGI), and, where neither has one, from what frameworks read elsewhere: ``RAW_URI``
and ``REQUEST_URI`` (the target as received), ``headers_raw`` and ``RAW_PATH_INFO`` (eventlet's).
"""

from __future__ import annotations

import sys
from typing import Any

from greenserve._version import __version__
from greenserve.http.head import Fields, RequestLine, is_token

__all__ = [
    "FRAMING_VARIABLES",
    "Environ",
    "add_unknown_length",
    "connection_environ",
    "put_fields",
    "put_request_line",
    "put_words",
    "request_environ",
    "server_environ",
]

Environ = dict[str, Any]


class _Extension(str):
    """The name of a variable that is no string, though it has no dot.

    Applications look for ``headers_raw`` under just that name; to wsgiref's validator every name without a dot is
    one of CGI's, whose values are strings. It asks ``"." in name``; to that this name says yes.
    """

    __slots__ = ()

    def __contains__(self, part: object) -> bool:
        return True


class _UnknownLength(str):
    """CONTENT_LENGTH of a body whose length nobody knows yet: empty, as PEP 3333 allows.

    Django, and many a small application, take ``int`` of it without a look and read that much at most, so that they
    would see no chunked body at all. ``int`` of this one is more than any body has; ``wsgi.input`` ends by itself.
    """

    __slots__ = ()

    def __int__(self) -> int:
        return sys.maxsize


_HEADERS_RAW = _Extension("headers_raw")
_CONTENT_LENGTH = _Extension("CONTENT_LENGTH")
_UNKNOWN_LENGTH = _UnknownLength()

SERVER_SOFTWARE = f"greenserve/{__version__}"


# Of fields that decide how a request is read (`greenserve.http.framing`).
FRAMING_VARIABLES = frozenset(
    "CONTENT_LENGTH HTTP_CONNECTION HTTP_EXPECT HTTP_HOST HTTP_TRANSFER_ENCODING HTTP_UPGRADE".split()
)


def server_environ(scheme: str, *, multiprocess: bool, extra: dict[str, Any] | None) -> Environ:
    """What is the same in every request of a server. ``extra`` is the caller's own, and wins.

    Raises:
        ValueError: ``extra`` has what only a request can say: where it ends, or where it goes.
    """
    wrong = FRAMING_VARIABLES & set(extra or ())
    if wrong:
        raise ValueError(f"environ can't have {', '.join(sorted(wrong))}: each request says that itself")
    return {
        # What each request puts in. Here already, since a dict that grows costs as much as all the rest of it.
        "REQUEST_METHOD": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "",
        "RAW_URI": "",
        "REQUEST_URI": "",
        "RAW_PATH_INFO": "",
        _HEADERS_RAW: (),
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": SERVER_SOFTWARE,
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,  # the same app runs in many green threads at once
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,  # reading wsgi.input to its end is safe, whatever CONTENT_LENGTH says
        **({"HTTPS": "on"} if scheme == "https" else {}),
        **(extra or {}),
    }


def connection_environ(base: Environ, local: Any, peer: Any) -> Environ:
    """``base`` with the addresses of one connection, as ``getsockname`` and ``getpeername`` give them.

    A Unix socket has no host and port: SERVER_NAME is ``localhost`` then, and REMOTE_ADDR is empty.
    """
    environ = base.copy()
    if isinstance(local, tuple):
        environ["SERVER_NAME"] = local[0]
        environ["SERVER_PORT"] = str(local[1])
    else:
        environ["SERVER_NAME"] = "localhost"
        environ["SERVER_PORT"] = "443" if base["wsgi.url_scheme"] == "https" else "80"
    if isinstance(peer, tuple):
        environ["REMOTE_ADDR"] = peer[0]
        environ["REMOTE_PORT"] = str(peer[1])
    else:
        environ["REMOTE_ADDR"] = ""
        environ["REMOTE_PORT"] = ""
    return environ


def add_unknown_length(environ: Environ) -> None:
    """Say in ``environ`` that the request has a body of unknown length."""
    environ[_CONTENT_LENGTH] = _UNKNOWN_LENGTH


def put_request_line(environ: Environ, line: RequestLine) -> None:
    """Put what ``line`` says into ``environ``."""
    method, target, version, _, _, environ["PATH_INFO"], environ["RAW_PATH_INFO"], environ["QUERY_STRING"] = line
    environ["REQUEST_METHOD"] = method
    environ["SERVER_PROTOCOL"] = version
    environ["RAW_URI"] = environ["REQUEST_URI"] = target


def put_words(environ: Environ, line: str) -> None:
    """Put the words of a request line that is wrong, or has not come to its end, where they would stand in a right one.

    What is no method is the target, and all behind it: it may be no HTTP at all.
    """
    method, _, rest = line.partition(" ")
    if not is_token(method):
        method, rest = "", line
    target, _, version = rest.rpartition(" ")
    if not version.startswith("HTTP/"):
        target, version = rest, ""
    environ["REQUEST_METHOD"] = method
    environ["SERVER_PROTOCOL"] = version
    environ["RAW_URI"] = environ["REQUEST_URI"] = target
    environ["RAW_PATH_INFO"], _, environ["QUERY_STRING"] = target.partition("?")


def put_fields(environ: Environ, raw: tuple[tuple[str, str], ...]) -> None:
    """Put the fields as received into ``environ``."""
    environ[_HEADERS_RAW] = raw


def request_environ(line: RequestLine, fields: Fields, host: str) -> Environ:
    """The environ of one request, but for what changes while it runs (``wsgi.input`` and the like).

    It is ``fields.variables``, which was begun with the connection's environ.
    ``host`` is the one the request is for: the authority of an absolute-form target wins over the Host field
    (RFC 9112 section 3.2.2).
    """
    environ = fields.variables
    put_request_line(environ, line)
    environ[_HEADERS_RAW] = fields.raw
    if line.authority is not None:
        environ["HTTP_HOST"] = host
    return environ
