"""For programs that were written for another library: its names, and what becomes of them here."""

from __future__ import annotations
