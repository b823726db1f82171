"""Changes of files as the system tells them, by the package watchfiles."""

from __future__ import annotations

from collections.abc import Callable

import watchfiles

from greenserve.supervisor.changes import Snapshot, Watched, first_change

__all__ = ["watch"]

# How long it waits at once, in milliseconds. When the first wait is over the system watches for certain.
_WAIT = 500


def watch(watched: Watched, before: Snapshot, tell: Callable[[str], object]) -> None:
    """Tell of each batch of changes since ``before`` by one of its files, for ever. Blocks."""
    batches = watchfiles.watch(
        *watched.directories,
        watch_filter=lambda change, path: watched.counts(path),
        raise_interrupt=False,
        rust_timeout=_WAIT,
        yield_on_timeout=True,
    )
    is_first = True
    for batch in batches:
        path = min((path for _, path in batch), default=None)
        if is_first:
            is_first = False
            path = path or first_change(before, watched.snapshot())
        if path is not None:
            tell(path)
