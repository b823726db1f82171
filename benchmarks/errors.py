"""What a benchmark raises when a figure must not be trusted."""

from __future__ import annotations

__all__ = ["BenchmarkError"]


class BenchmarkError(Exception):
    """A program did not start, gave a wrong answer, or did not report in time; the message says which and what came."""
