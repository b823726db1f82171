"""The commands themselves: a module's name is that of its command."""

from __future__ import annotations

__all__: list[str] = []
