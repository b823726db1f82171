"""Dates as HTTP writes them. Knows nothing of messages."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Dates", "date_line", "http_date", "now_date"]

# strftime's %a and %b follow the locale; RFC 9110 section 5.6.7 wants these.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(timestamp: float) -> str:
    """Return the time, in seconds since the epoch, as an IMF-fixdate: ``Sun, 06 Nov 1994 08:49:37 GMT``.

    Raises:
        ValueError: The year does not fit four digits.
    """
    try:
        moment = time.gmtime(timestamp)
    except (OverflowError, OSError):
        moment = None
    if moment is None or not 0 <= moment.tm_year <= 9999:
        raise ValueError(f"no HTTP date can say {timestamp!r}: give seconds since the epoch, such as time.time()")
    year, month, day, hour, minute, second, weekday, _, _ = moment
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


class Dates:
    """The present time in HTTP's spellings, computed once a second."""

    __slots__ = ("_clock", "_latest")

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the time, in seconds since the epoch, from ``clock``."""
        self._clock = clock
        # atomic: one attribute holds the second and both spellings of it, so no thread sees them disagree.
        self._latest = (0, http_date(0), _line(http_date(0)))

    def text(self) -> str:
        """Return the present time as an IMF-fixdate."""
        return self._now()[1]

    def line(self) -> bytes:
        """Return the present time as a whole field line, ``Date: ...`` with its CRLF."""
        return self._now()[2]

    def _now(self) -> tuple[int, str, bytes]:
        latest = self._latest
        second = int(self._clock())
        if latest[0] != second:
            text = http_date(second)
            self._latest = latest = (second, text, _line(text))
        return latest


def _line(date: str) -> bytes:
    return f"Date: {date}\r\n".encode("ascii")


_dates = Dates(time.time)
now_date = _dates.text
date_line = _dates.line
