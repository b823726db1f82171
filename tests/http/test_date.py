from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.http.date import Dates, date_line, http_date, now_date


@pytest.mark.parametrize(
    ("timestamp", "date"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784111777, "Sun, 06 Nov 1994 08:49:37 GMT"),  # the example in RFC 9110 section 5.6.7
        (784111777.999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951782400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_a_date_is_written_as_http_wants_it(timestamp, date):
    assert http_date(timestamp) == date


@given(st.integers(-10_000_000_000, 253402300799))
def test_a_date_can_be_read_again(timestamp):
    assert parsedate_to_datetime(http_date(timestamp)).timestamp() == timestamp


@pytest.mark.parametrize("timestamp", [253402300800, 1e18, 1e300, -1e18, float("inf")])
def test_a_time_that_no_date_can_say_is_refused(timestamp):
    with pytest.raises(ValueError, match="no HTTP date"):
        http_date(timestamp)


def test_the_present_time_follows_the_clock():
    now = 0.0
    dates = Dates(lambda: now)
    for now in (0.0, 784111777.2, 784111777.8, 784111778.0, 784111777.0):  # a clock may go back, too
        assert dates.text() == http_date(now)
        assert dates.line() == f"Date: {http_date(now)}\r\n".encode()


def test_a_date_is_computed_once_a_second():
    seconds = iter([784111777.0, 784111777.9, 784111778.0])
    dates = Dates(lambda: next(seconds))
    first, again, next_second = dates.text(), dates.text(), dates.text()
    assert first is again
    assert next_second == "Sun, 06 Nov 1994 08:49:38 GMT"


def test_the_present_time_is_the_systems():
    before = int(time.time())
    dates = {now_date(), date_line()[6:-2].decode()}
    assert dates <= {http_date(second) for second in range(before, int(time.time()) + 1)}
