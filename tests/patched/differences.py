"""Tests of CPython's that pass unpatched and not under the patch, each with the reason. Data alone."""

from __future__ import annotations

# Test id: why it can't pass, or need not.
DIFFERENCES: dict[str, str] = {}
