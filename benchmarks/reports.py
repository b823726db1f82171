"""Figures as people read them: medians with their spread, percentiles, ratios, and tables of text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["format_spread", "format_table", "median", "percentile", "ratio"]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value at ``percent`` by nearest rank: the smallest that at least so many percent do not exceed.

    Raises:
        ValueError: There are no values, or ``percent`` is outside 0 to 100.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be from 0 to 100, not {percent!r}")
    # Whole-number arithmetic: -(-a // b) is a division that rounds up.
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(int(rank) - 1, 0)]


def ratio(ours: float | None, theirs: float | None) -> str:
    """Return ``ours / theirs`` as text with two digits, or ``-`` where one is missing or the divisor is zero."""
    if ours is None or not theirs:
        return "-"
    return f"{ours / theirs:.2f}"


def median(values: Sequence[float]) -> float | None:
    """Return the median, or None where nothing was measured."""
    return statistics.median(values) if values else None


def format_spread(values: Sequence[float], digits: int = 1) -> str:
    """Return ``median (min to max)``, the median alone for a single value, or ``-`` for none."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def format_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is aligned left and whose other columns are aligned right."""
    lines = [list(headings), *[list(row) for row in rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
