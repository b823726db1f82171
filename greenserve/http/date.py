"""Dates as HTTP writes them. Knows nothing of messages."""

from __future__ import annotations

import time

__all__ = ["date_line", "http_date", "now_date"]

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


def _dates_at(second: int) -> tuple[int, str, bytes]:
    text = http_date(second)
    return second, text, b"Date: %b\r\n" % text.encode("ascii")


class _Latest:
    """The dates of the second that was asked for last."""

    __slots__ = ("dates",)

    def __init__(self) -> None:
        # atomic: one attribute holds the second and both spellings of it, so no thread sees them disagree.
        self.dates = _dates_at(0)

    def now(self) -> tuple[int, str, bytes]:
        dates = self.dates
        second = int(time.time())
        if dates[0] != second:
            self.dates = dates = _dates_at(second)
        return dates


_latest = _Latest()


def now_date() -> str:
    """Return the present time as an IMF-fixdate, computed once a second."""
    return _latest.now()[1]


def date_line() -> bytes:
    """Return the present time as a whole field line, ``Date: ...`` with its CRLF, computed once a second."""
    return _latest.now()[2]
