"""Under --reload: notices when a source file changes. Knows no process; says which file it was.

What is watched: all Python files below the current directory and the directories of ``pythonpath``, and all that
``reload_extra_files`` names. So a module of the application that does not even import is watched, and what is installed
is not; neither are hidden directories, virtual environments, caches and ``node_modules``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from greenserve import extras
from greenserve._originals import start_new_thread, time_sleep
from greenserve.config import Config
from greenserve.core.hub import get_hub
from greenserve.errors import MissingExtra

__all__ = ["Snapshot", "Watched", "first_change", "poll", "watch_files", "watched_files"]

_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "build", "dist"})
_POLL_SECONDS = 1.0

# Each file with the time of its last change, in nanoseconds, and its size.
Snapshot = dict[str, tuple[int, int]]


class Watched:
    """The files whose change counts."""

    __slots__ = ("_extra", "_roots")

    def __init__(self, roots: list[str], extra: list[str]) -> None:
        """Count Python files below ``roots``, and the files ``extra`` or all files below them."""
        self._roots = [os.path.abspath(root) for root in roots]
        self._extra = [os.path.abspath(path) for path in extra]

    @property
    def directories(self) -> list[str]:
        """The directories that hold them all."""
        extra = [path if os.path.isdir(path) else os.path.dirname(path) for path in self._extra]
        return [path for path in dict.fromkeys(self._roots + extra) if os.path.isdir(path)]

    def counts(self, path: str) -> bool:
        """Whether a change of the file ``path`` counts."""
        for extra in self._extra:
            if path == extra or path.startswith(extra + os.sep):
                return True
        for root in self._roots:
            if path.endswith(".py") and path.startswith(root + os.sep):
                *folders, _ = os.path.relpath(path, root).split(os.sep)
                if not any(map(_is_skipped, folders)):
                    return True
        return False

    def snapshot(self) -> Snapshot:
        """Return all the files as they are now."""
        found: Snapshot = {}
        for root in [*self._roots, *self._extra]:
            for path in _walk(root):
                if self.counts(path):
                    try:
                        status = os.stat(path)
                    except OSError:
                        continue  # it has just gone
                    found[path] = status.st_mtime_ns, status.st_size
        return found


def _is_skipped(folder: str) -> bool:
    return folder.startswith(".") or folder in _SKIPPED


def _walk(root: str) -> Iterator[str]:
    if os.path.isfile(root):
        yield root
        return
    for directory, folders, files in os.walk(root):
        # A virtual environment says by this file that it is one.
        folders[:] = [
            folder
            for folder in folders
            if not _is_skipped(folder) and not os.path.exists(os.path.join(directory, folder, "pyvenv.cfg"))
        ]
        for name in files:
            yield os.path.join(directory, name)


Engine = Callable[[Watched, Snapshot, Callable[[str], object]], None]


def watched_files(config: Config, config_file: str | None) -> Watched:
    """Return the files whose change counts by these settings, and the file that they come from."""
    extra = [*(config.reload_extra_files or ()), *([config_file] if config_file else [])]
    return Watched([os.getcwd(), *(config.pythonpath or ())], extra)


def watch_files(watched: Watched, before: Snapshot, engine: str, tell: Callable[[str], object]) -> None:
    """Call ``tell`` with the name of a file, in this hub, whenever one has changed. A native thread looks.

    Args:
        before: The files as they were before any of them was imported: what was saved since then counts.
        engine: ``reload_engine``.

    Raises:
        MissingExtra: The engine is watchfiles, which is not installed.
    """
    call_soon = get_hub().call_soon_threadsafe
    start_new_thread(_engine(engine), (watched, before, lambda path: call_soon(tell, os.path.relpath(path))))


def _engine(name: str) -> Engine:
    if name != "poll":
        try:
            engine: Engine = extras.load("reload", "greenserve.supervisor._watchfiles").watch
            return engine
        except MissingExtra:
            if name == "watchfiles":
                raise
    return poll


def first_change(before: Snapshot, now: Snapshot) -> str | None:
    """Return the first of the files in which two looks differ, in the order of their names."""
    return min((path for path, _ in before.items() ^ now.items()), default=None)


def poll(watched: Watched, before: Snapshot, tell: Callable[[str], object], interval: float = _POLL_SECONDS) -> None:
    """Look at all files every ``interval`` seconds, for ever, and tell of one that has changed. Blocks."""
    while True:
        now = watched.snapshot()
        if path := first_change(before, now):
            tell(path)
        before = now
        time_sleep(interval)
