"""Process titles, by the package setproctitle."""

from __future__ import annotations

from setproctitle import setproctitle

__all__ = ["set_title"]


def set_title(title: str) -> None:
    """Let `ps` show ``title`` for this process."""
    setproctitle(title)
