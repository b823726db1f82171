"""Words for numbers, as messages have them. Knows nothing of what is counted."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, one: str, many: str = "") -> str:
    """Return ``1 request``, or ``2 requests``. ``many`` is for what needs more than an s, such as a verb."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
