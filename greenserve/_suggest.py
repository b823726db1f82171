"""What somebody may have meant who has misspelt a name. Loaded when somebody has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["suggestion"]


def suggestion(name: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean NAME?`` with the one of ``known`` that is like ``name``, or nothing if none is.

    ``cutoff`` is how alike they have to be, up to 1.
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""
