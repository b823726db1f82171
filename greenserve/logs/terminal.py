"""Lines for a person who reads them on a terminal, as they come. Knows ``logging``'s records; no files.

Colours as https://no-color.org and https://force-color.org ask for them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TextIO

__all__ = ["TerminalFormatter", "has_colours"]

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"

# Level: its name, as short as the others, and its colour.
_LEVELS = {
    logging.DEBUG: ("debug", "\x1b[2m"),
    logging.INFO: ("info ", "\x1b[32m"),
    logging.WARNING: ("warn ", "\x1b[33m"),
    logging.ERROR: ("error", "\x1b[31m"),
    logging.CRITICAL: ("fatal", "\x1b[1;31m"),
}


def has_colours(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is written to ``stream`` may hold colours."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    try:
        return stream.isatty() and environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


class TerminalFormatter(logging.Formatter):
    """The time of day, the level, and the message; of a process among several also its number."""

    def __init__(self, colours: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._colours = colours
        self._first_process = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        name, colour = _LEVELS.get(record.levelno, (record.levelname.lower(), ""))
        time = self.formatTime(record, self.datefmt)
        if self._colours:
            time, name = f"{_DIM}{time}{_RESET}", f"{colour}{name}{_RESET}"
        who = "" if record.process in (None, self._first_process) else f"[{record.process}] "
        # The rest, such as a traceback, is the standard formatter's.
        return f"{time} {name} {who}{super().format(record)}"
