"""The parts of ``eventlet.wsgi`` that stand by themselves: loggers, dates, an input made by hand. Knows no server."""

from __future__ import annotations

import sys
import time
from typing import Any

from greenserve.http.body import ChunkedBody, LengthBody
from greenserve.wsgi import input as native_input

__all__ = ["Input", "LoggerFileWrapper", "LoggerNull", "encode_header_line", "format_date_time", "get_logger"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_date_time(timestamp: float) -> str:
    """Unix time as HTTP writes it."""
    year, month, day, hours, minutes, seconds, weekday, *_ = time.gmtime(timestamp)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:4} {hours:02}:{minutes:02}:{seconds:02} GMT"


def encode_header_line(header: tuple[str, str]) -> bytes:
    """A field as a line.

    Raises:
        UnicodeEncodeError: Its name or its value is not latin-1. The message says what to do about it.
    """
    name, value = header
    return b"%b: %b\r\n" % (
        _as_latin_1(str(name), "header names must be latin-1"),
        _as_latin_1(str(value), "header values must be latin-1: RFC 8187 has a way to write others"),
    )


def _as_latin_1(text: str, hint: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise UnicodeEncodeError(exc.encoding, exc.object, exc.start, exc.end, f"{exc.reason}; {hint}") from None


# Logging ------------------------------------------------------------------------------------------------------------


class LoggerNull:
    """Logs nothing."""

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``."""

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``."""

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``."""

    def write(self, msg: str, *args: Any) -> None:
        """Log ``msg % args``."""


class LoggerFileWrapper(LoggerNull):
    """Logs to a file, one line for each message."""

    def __init__(self, log: Any, debug: bool) -> None:
        self.log = log
        self._debug = debug

    def error(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``."""
        self.write(msg, *args)

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``."""
        self.write(msg, *args)

    def debug(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log ``msg % args``, if debugging."""
        if self._debug:
            self.write(msg, *args)

    def write(self, msg: str, *args: Any) -> None:
        """Write ``msg % args`` and a newline."""
        self.log.write((msg % args if args else msg) + "\n")


def get_logger(log: Any, debug: bool) -> Any:
    """``log`` itself if it is a logger, else one that writes to the file ``log``, or stderr."""
    if callable(getattr(log, "info", None)) and callable(getattr(log, "debug", None)):
        return log
    return LoggerFileWrapper(log or sys.stderr, debug)


class Input(native_input.Input):
    """A request's body over ``rfile``, as eventlet's constructor makes one."""

    def __init__(
        self,
        rfile: Any,
        content_length: Any,
        sock: Any,
        wfile: Any = None,
        wfile_line: bytes | None = None,
        chunked_input: bool = False,
    ) -> None:
        source = _FileSource(rfile)
        body = ChunkedBody(source) if chunked_input else LengthBody(source, int(content_length or 0))
        super().__init__(_FileConnection(sock, wfile, wfile_line), body)


class _FileSource:
    """A file as the source of a body."""

    def __init__(self, rfile: Any) -> None:
        self._rfile = rfile

    def read1(self, size: int) -> bytes:
        data: bytes = self._rfile.read(size)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:
        data = self.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readline(self, limit: int) -> bytes:
        line: bytes = self._rfile.readline(limit)
        return line


class _FileConnection:
    """What an `Input` that was made by hand knows of its connection."""

    def __init__(self, sock: Any, wfile: Any, wfile_line: bytes | None) -> None:
        self._sock = sock
        self._wfile = wfile
        self._line = wfile_line or b"HTTP/1.1 100 Continue\r\n"
        self._fields: list[tuple[str, str]] = []

    def hijack(self) -> Any:
        return self._sock

    def send_continue(self, again: bool = False) -> None:
        if self._wfile is not None:
            self._wfile.write(self._line + b"".join(map(encode_header_line, self._fields)) + b"\r\n")
            self._wfile.flush()

    def set_continue_fields(self, headers: list[tuple[str, str]], capitalize: bool) -> None:
        self._fields = headers
