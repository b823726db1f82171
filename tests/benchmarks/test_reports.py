from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reports import format_spread, format_table, median, percentile, ratio

HUNDRED = list(range(1, 101))


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        (HUNDRED, 50, 50),
        (HUNDRED, 99, 99),
        (HUNDRED, 100, 100),
        (HUNDRED, 0, 1),
        ([7], 50, 7),
        ([3, 1, 2], 50, 2),
        ([1, 2], 50, 1),
        ([1, 2], 51, 2),
        ([1, 2, 3, 4], 99.9, 4),
    ],
)
def test_percentile_is_the_nearest_rank(values, percent, expected):
    assert percentile(values, percent) == expected


@given(st.lists(st.floats(allow_nan=False), min_size=1), st.integers(0, 100))
def test_percentile_is_a_value_that_so_many_percent_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 <= percent * len(values)


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1], -1), ([1], 101)])
def test_percentile_of_nothing_or_outside_the_scale_is_refused(values, percent):
    with pytest.raises(ValueError, match="percent"):
        percentile(values, percent)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(10, 40, "0.25"), (3, 2, "1.50"), (None, 2, "-"), (2, None, "-"), (2, 0, "-"), (0, 2, "0.00")],
)
def test_ratio_is_ours_to_theirs_or_a_dash(ours, theirs, expected):
    assert ratio(ours, theirs) == expected


def test_median_of_nothing_is_none():
    assert median([]) is None
    assert median([3, 1, 2]) == 2


@pytest.mark.parametrize(
    ("values", "digits", "expected"),
    [
        ([], 1, "-"),
        ([12.34], 1, "12.3"),
        ([3.0, 1.0, 2.0], 1, "2.0 (1.0 to 3.0)"),
        ([100_000, 90_000], 0, "95,000 (90,000 to 100,000)"),
    ],
)
def test_spread_is_the_median_with_its_limits(values, digits, expected):
    assert format_spread(values, digits) == expected


def test_table_aligns_names_left_and_figures_right():
    assert format_table(["server", "µs"], [["ours", "9.5"], ["another", "100.0"]]).split("\n") == [
        "server      µs",
        "-------  -----",
        "ours       9.5",
        "another  100.0",
    ]
