"""One line for each request, those included that are refused before an app gets to see them.

Knows no connection: takes what a request was and what became of it.

Formats are ``%(name)s`` with gunicorn's atoms (``h l u t r m U q H s B b f a T M D L p`` and ``{field}i``,
``{field}o``, ``{variable}e``) or eventlet's names (``client_ip`` and so on); both may stand in one format. What is
no format of atoms, such as JSON, is a function from a record to its line.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from greenserve.settings import SETTINGS

__all__ = ["COMBINED", "EVENTLET", "AccessLog", "Logger", "Record", "TextFile", "escape"]


class Logger(Protocol):
    """A logger of ``logging``, or one of another library with these methods."""

    def info(self, message: str, /, *args: object) -> None:
        """Log ``message % args``."""

    def debug(self, message: str, /, *args: object) -> None:
        """Likewise. A file may have an ``info``; both methods make a logger."""


class TextFile(Protocol):
    """What takes text."""

    def write(self, text: str, /) -> object:
        """Take ``text``, whole lines."""


# The combined format of Apache httpd, which gunicorn uses too.
COMBINED: str = SETTINGS["access_logformat"].default

EVENTLET = '%(client_ip)s - - [%(date_time)s] "%(request_line)s" %(status_code)s %(body_length)s %(wall_seconds).6f'

_ATOM = re.compile(r"%\((\{[^}]+\}[ioe]|[A-Za-z_]+)\)([-#0-9 +.]*[a-z])|%%")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# What would let a client forge a line, or act on the terminal of whoever reads it.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\xa0"\\]')


class Record:
    """What there is to say about one request."""

    __slots__ = ("client", "environ", "fields", "seconds", "sent", "status")

    def __init__(
        self, client: str, environ: dict[str, Any], status: str, fields: bytes, sent: int, seconds: float
    ) -> None:
        self.client = client  # the address to log for it
        self.environ = environ
        self.status = status  # three digits; empty if the app never answered
        self.fields = fields  # the response's, as lines
        self.sent = sent  # bytes of the response's body
        self.seconds = seconds


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return "\\" + character if character in '"\\' else f"\\x{ord(character):02x}"


def escape(text: str) -> str:
    """``text``, which is latin-1, without what could forge a line or reach the terminal of its reader."""
    return _UNSAFE.sub(_escape, text)


def _safe(text: str) -> str:
    return _UNSAFE.sub(_escape, text) if text else "-"


def _variable(name: str) -> Callable[[Record], str]:
    return lambda record: _safe(str(record.environ.get(name, "")))


def _any_case(name: str) -> Callable[[Record], str]:
    """A variable of environ, by its name in capitals or not: gunicorn's documentation asks for lower case."""
    names = dict.fromkeys((name, name.upper(), name.lower()))
    return lambda record: _safe(str(next((record.environ[each] for each in names if each in record.environ), "")))


def _query(record: Record) -> str:
    # Where there is none this is empty, as gunicorn has it: "%(U)s?%(q)s" ends in the question mark.
    return escape(str(record.environ.get("QUERY_STRING", "")))


def _user(record: Record) -> str:
    scheme, _, credentials = record.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        name = base64.b64decode(credentials.strip(), validate=True).decode("utf-8").partition(":")[0]
    except ValueError:  # no base64, or no UTF-8
        return "-"
    # Here alone can be any character of Unicode, and some end a line or turn its direction.
    return _safe(name).encode("ascii", "backslashreplace").decode()


def _time(record: Record) -> str:
    now = time.localtime()
    zone = now.tm_gmtoff // 60
    sign = "-" if zone < 0 else "+"
    return (
        f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        f" {sign}{abs(zone) // 60:02}{abs(zone) % 60:02}"
    )


def _request_line(record: Record) -> str:
    environ = record.environ
    # The app may have taken anything out of its environ, and a request that was refused may have had none of these.
    return _safe(" ".join([environ.get(name) or "-" for name in ("REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL")]))


def _code(record: Record) -> str:
    return record.status or "-"


_ATOMS: dict[str, Callable[[Record], Any]] = {
    "h": lambda record: _safe(record.client),
    "l": lambda record: "-",
    "u": _user,
    "t": lambda record: f"[{_time(record)}]",
    "r": _request_line,
    "m": _variable("REQUEST_METHOD"),
    "U": _variable("RAW_PATH_INFO"),
    "q": _query,
    "H": _variable("SERVER_PROTOCOL"),
    "s": _code,
    "B": lambda record: record.sent,
    "b": lambda record: record.sent or "-",
    "f": _variable("HTTP_REFERER"),
    "a": _variable("HTTP_USER_AGENT"),
    "T": lambda record: int(record.seconds),
    "M": lambda record: int(record.seconds * 1000),
    "D": lambda record: int(record.seconds * 1_000_000),
    "L": lambda record: f"{record.seconds:.6f}",
    "p": lambda record: f"<{os.getpid()}>",
    "client_ip": lambda record: _safe(record.client),
    "client_port": lambda record: record.environ.get("REMOTE_PORT") or "-",
    "date_time": lambda record: time.strftime("%d/%b/%Y %H:%M:%S"),
    "request_line": _request_line,
    "status_code": _code,
    "body_length": lambda record: record.sent,
    "wall_seconds": lambda record: record.seconds,
}


def _atom(name: str) -> Callable[[Record], Any]:
    if not name.startswith("{"):
        if name not in _ATOMS:
            raise ValueError(
                f"log_format has no %({name})s; it has {', '.join(_ATOMS)} and {{name}}i, {{name}}o, {{name}}e"
            )
        return _ATOMS[name]
    field, kind = name[1:-2], name[-1]
    if kind == "e":
        return _any_case(field)
    if kind == "i":
        variable = field.upper().replace("-", "_")
        return _variable(variable if variable in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{variable}")
    pattern = re.compile(rb"(?im)^" + re.escape(field.encode("latin-1")) + rb": ([^\r]*)\r$")

    def response_field(record: Record) -> str:
        return _safe(", ".join(value.decode("latin-1") for value in pattern.findall(record.fields)))

    return response_field


def _compile(log_format: str) -> Callable[[Record], str]:
    """Return what makes a line of a record. Raises ValueError."""
    atoms: list[Callable[[Record], Any]] = []

    def placeholder(match: re.Match[str]) -> str:
        if match.group() == "%%":
            return "%%"
        atoms.append(_atom(match.group(1)))
        return "%" + match.group(2)

    template = _ATOM.sub(placeholder, log_format)
    try:
        template % tuple(0 for _ in atoms)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"log_format {log_format!r} is not a %-format: {exc}") from None

    def format_record(record: Record) -> str:
        return template % tuple([atom(record) for atom in atoms])

    return format_record


class AccessLog:
    """Formats records and writes them to a logger or a file.

    Args:
        log: A logger, or a file.
        log_format: See the module.

    Attributes:
        format: Makes the line of a record, without its end.

    Raises:
        ValueError: The format names an atom that does not exist.
    """

    __slots__ = ("_file", "_is_enabled", "_logger", "format")

    def __init__(self, log: Logger | TextFile, log_format: str | Callable[[Record], str] = COMBINED) -> None:
        self._logger: Logger | None = None
        self._file: TextFile | None = None
        if callable(getattr(log, "info", None)) and callable(getattr(log, "debug", None)):
            self._logger = cast(Logger, log)
        else:
            self._file = cast(TextFile, log)
        self._is_enabled: Callable[[int], bool] | None = getattr(log, "isEnabledFor", None)
        self.format = _compile(log_format) if isinstance(log_format, str) else log_format

    @property
    def enabled(self) -> bool:
        """Whether a line would go anywhere. Cheap enough to ask for each request."""
        return self._is_enabled is None or self._is_enabled(logging.INFO)

    def write(self, record: Record) -> None:
        """Log ``record``."""
        if self._logger is not None:
            self._logger.info("%s", self.format(record))
        elif self._file is not None:
            self._file.write(self.format(record) + "\n")
