"""The version: its one source, which packaging reads too."""

from __future__ import annotations

__version__ = "0.1.0"
