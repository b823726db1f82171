"""Where the loggers of ``greenserve`` write to. The command alone calls this: a library installs no handlers.

Only our own loggers are touched, so that the application's ``logging.basicConfig`` or ``dictConfig`` has the effect
that it would have anywhere.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from greenserve.errors import GreenserveError

__all__ = ["LogError", "configure_logs", "keep_logs_enabled"]

_ERRORS = logging.getLogger("greenserve")
_ACCESS = logging.getLogger("greenserve.access")

_ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
_TIME_FORMAT = "[%Y-%m-%d %H:%M:%S %z]"


class LogError(GreenserveError):
    """A log can't be opened. The message names it and says why."""


def configure_logs(error_logfile: str, log_level: str, access_logfile: str | None) -> None:
    """Send errors to a file, or to stderr where it is ``-``; accesses to a file, to stdout for ``-``, or nowhere.

    Raises:
        LogError: A file can't be opened for appending.
    """
    errors = _handler(error_logfile, sys.stderr)
    errors.setFormatter(logging.Formatter(_ERROR_FORMAT, _TIME_FORMAT))
    _replace_handlers(_ERRORS, errors)
    _ERRORS.setLevel(log_level.upper())
    if access_logfile is None:
        # What a server asks before it formats a line: isEnabledFor(INFO).
        _ACCESS.setLevel(logging.CRITICAL + 1)
        return
    access = _handler(access_logfile, sys.stdout)
    access.setFormatter(logging.Formatter("%(message)s"))
    _replace_handlers(_ACCESS, access)
    # It has a setting of its own, so the other log's level has no say.
    _ACCESS.setLevel(logging.INFO)


def keep_logs_enabled() -> None:
    """Undo what ``dictConfig`` does to loggers that it doesn't know, when an application calls it while it loads.

    That default of the standard library would silence the server's own errors.
    """
    for name in list(logging.root.manager.loggerDict):
        if name == "greenserve" or name.startswith("greenserve."):
            logging.getLogger(name).disabled = False


def _handler(file: str, stream: TextIO) -> logging.Handler:
    if file == "-":
        return logging.StreamHandler(stream)
    try:
        return logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    except OSError as exc:
        raise LogError(f"can't write the log {file}: {exc.strerror}") from exc


def _replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    logger.addHandler(handler)
    logger.propagate = False
