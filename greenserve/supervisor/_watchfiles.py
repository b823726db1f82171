"""Changes of files as the system tells them, by the package watchfiles."""

from __future__ import annotations

from collections.abc import Callable

import watchfiles

from greenserve.supervisor.changes import Watched

__all__ = ["watch"]


def watch(watched: Watched, tell: Callable[[str], object]) -> None:
    """Tell of each batch of changes by one of its files, for ever. Blocks."""
    changes = watchfiles.watch(
        *watched.directories,
        watch_filter=lambda change, path: watched.counts(path),
        raise_interrupt=False,
        # It looks for signals only between two waits of this many milliseconds, and they are not its business here.
        rust_timeout=60_000,
    )
    for batch in changes:
        tell(min(path for _, path in batch))
