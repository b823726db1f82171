"""Where Django looks for the app's commands."""

from __future__ import annotations

__all__: list[str] = []
