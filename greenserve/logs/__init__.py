"""Where the loggers of ``greenserve`` write to. The command alone calls this: a library installs no handlers.

Only our own loggers are touched, so that the application's ``logging.basicConfig`` or ``dictConfig`` has the effect
that it would have anywhere; unless ``log_config`` says what the whole of ``logging`` is to look like.
"""

from __future__ import annotations

import configparser
import json
import logging
import logging.config
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

from greenserve.errors import GreenserveError
from greenserve.logs.terminal import TerminalFormatter, has_colours
from greenserve.logs.writer import LogWriter, duplicate, open_for_appending

__all__ = ["BackgroundHandler", "LogError", "LogFile", "Logs", "configure_logs", "keep_logs_enabled"]

_ERRORS = logging.getLogger("greenserve")
_ACCESS = logging.getLogger("greenserve.access")

_ERROR_FORMAT = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
_TIME_FORMAT = "[%Y-%m-%d %H:%M:%S %z]"

# How long the end of the process waits for a file that takes nothing.
_FLUSH_SECONDS = 2.0


class LogError(GreenserveError):
    """A log can't be opened, or set up. The message names it and says why."""


class LogFile:
    """A text file of which only the end is written, in the background.

    Attributes:
        is_terminal: A person reads it as it comes.
        has_colours: It may hold colours.
    """

    def __init__(self, path: str, stream: TextIO, on_trouble: Callable[[str], object] | None = None) -> None:
        """Open ``path``, or take ``stream`` where that is ``-``.

        Raises:
            LogError: It can't be opened.
        """
        self.is_terminal = self.has_colours = False
        self._stream: TextIO | None = None
        self._writer: LogWriter | None = None
        try:
            if path != "-":
                self._writer = LogWriter(partial(open_for_appending, os.path.abspath(path)), on_trouble=on_trouble)
            elif (fd := _fileno(stream)) is None:
                self._stream = stream  # in memory, as in a notebook: nothing there takes long
            else:
                self.is_terminal = os.isatty(fd)
                self.has_colours = has_colours(stream)
                stream.flush()
                self._writer = LogWriter(partial(duplicate, fd), on_trouble=on_trouble)
        except OSError as exc:
            raise LogError(f"can't write the log {path}: {exc.strerror}") from exc

    @property
    def dropped(self) -> int:
        """Lines that were dropped so far, since they came faster than the file took them."""
        return 0 if self._writer is None else self._writer.dropped

    def write(self, text: str) -> None:
        """Add whole lines to it. Never waits."""
        if self._writer is not None:
            self._writer.write(text.encode("utf-8", "backslashreplace"))
        elif self._stream is not None:
            self._stream.write(text)

    def flush(self) -> None:
        """Wait until all is written, for two seconds at most. Blocks the OS thread."""
        if self._writer is not None:
            self._writer.flush(_FLUSH_SECONDS)

    def reopen(self) -> None:
        """Open the file of that name anew. Returns at once."""
        if self._writer is not None:
            self._writer.reopen()

    def close(self) -> None:
        """Write what is left, for two seconds at most, and close it."""
        if self._writer is not None:
            self._writer.close(_FLUSH_SECONDS)


class BackgroundHandler(logging.Handler):
    """Writes what is logged to a file, to stderr (``-``) or to another stream, and lets nobody wait for that.

    In ``--log-config`` too: ``"class": "greenserve.logs.BackgroundHandler", "filename": "app.log"``.
    """

    def __init__(self, filename: str = "-", file: LogFile | None = None) -> None:
        super().__init__()
        self.file = file or LogFile(filename, sys.stderr, self._tell_of_trouble)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.file.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a message that does not fit its arguments
            self.handleError(record)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        """Leave the file open: a handler that is closed may well be one that is used on.

        ``dictConfig`` and ``fileConfig`` close all handlers that there are, those too that stay at loggers that they
        are not told of. Many applications call one of them while they load.
        """
        super().close()

    def _tell_of_trouble(self, sentence: str) -> None:
        # In the writer's thread, and past the loggers, whose locks somebody may hold who waits.
        record = logging.LogRecord("greenserve", logging.WARNING, __file__, 0, sentence, None, None)
        self.file.write(self.format(record) + "\n")


class Logs:
    """The logs of this process.

    Attributes:
        access: What a server's access log is written to: a file, a logger, or None for nothing.
        files: Every file that is written in the background.
    """

    def __init__(self, access: LogFile | logging.Logger | None, files: list[LogFile]) -> None:
        self.access = access
        self.files = files

    @property
    def dropped(self) -> int:
        """Lines that were dropped so far, in all files."""
        return sum(file.dropped for file in self.files)

    def reopen(self) -> None:
        """Open all files anew: their rotation has moved them away. Returns at once."""
        for file in self.files:
            file.reopen()

    def flush(self) -> None:
        """Wait until all is written, for two seconds at each file. For who ends the process without its ``atexit``."""
        for file in self.files:
            file.flush()

    def close(self) -> None:
        """Write what is left, for two seconds at each file. For the end: what a full disk does not take is dropped."""
        for file in reversed(self.files):  # the first one is told of the others
            file.close()


def configure_logs(
    error_logfile: str,
    log_level: str,
    access_logfile: str | None,
    log_config: str | dict[str, Any] | None = None,
) -> Logs:
    """Send errors to a file, or to stderr where it is ``-``; accesses to a file, to stdout for ``-``, or nowhere.

    Args:
        error_logfile: A file, or ``-``.
        log_level: What is at least logged among errors.
        access_logfile: A file, ``-``, or None.
        log_config: What ``logging.config`` is to set up after that: its dictionary, or a file with one (``.json``), or
            one for ``fileConfig`` (any other). The access log then goes to its logger, as that says.

    Raises:
        LogError: A file can't be opened, or ``log_config`` is not right.
    """
    keep_logs_enabled()
    errors = BackgroundHandler(error_logfile)
    errors.setFormatter(
        TerminalFormatter(errors.file.has_colours)
        if errors.file.is_terminal
        else logging.Formatter(_ERROR_FORMAT, _TIME_FORMAT)
    )
    _replace_handlers(_ERRORS, errors)
    _ERRORS.setLevel(log_level.upper())
    if log_config is not None:
        _apply(log_config)
        # What it says nothing of stays as it is.
        if errors not in _ERRORS.handlers:
            errors.file.close()
            if not _ERRORS.handlers:  # it has given the logger a level, say: then its lines go where all lines go
                _ERRORS.propagate = True
        handlers = [handler for log in (_ERRORS, _ACCESS, logging.root) for handler in log.handlers]
        files = [handler.file for handler in handlers if isinstance(handler, BackgroundHandler)]
        if _ACCESS.level == logging.NOTSET:
            _ACCESS.setLevel(logging.INFO)
        return Logs(_ACCESS, list(dict.fromkeys(files)))
    if access_logfile is None:
        # What a server asks before it formats a line: isEnabledFor(INFO).
        _ACCESS.setLevel(logging.CRITICAL + 1)
        return Logs(None, [errors.file])
    file = LogFile(access_logfile, sys.stdout, partial(_tell_of_access, errors))
    access = BackgroundHandler(file=file)
    access.setFormatter(logging.Formatter("%(message)s"))
    _replace_handlers(_ACCESS, access)
    # It has a setting of its own, so the other log's level has no say.
    _ACCESS.setLevel(logging.INFO)
    return Logs(file, [errors.file, file])


class _LastingLogger(logging.Logger):
    """A logger that can't be disabled.

    ``dictConfig`` and ``fileConfig`` disable all loggers that they are not told of. Applications and hooks call them
    at any time, in a request too, and the server would say nothing from then on.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        pass


def keep_logs_enabled() -> None:
    """Let no ``dictConfig`` silence the server's loggers that there are, now or later. For the command alone."""
    for name in list(logging.root.manager.loggerDict):
        if name == "greenserve" or name.startswith("greenserve."):
            logger = logging.getLogger(name)
            if type(logger) is logging.Logger:
                logger.__class__ = _LastingLogger
            else:  # somebody has called `setLoggerClass`
                logger.disabled = False


def _apply(config: str | dict[str, Any]) -> None:
    name = config if isinstance(config, str) else "the dictionary"
    try:
        if isinstance(config, dict):
            logging.config.dictConfig(config)
        elif config.endswith(".json"):
            with open(config, encoding="utf-8") as file:
                logging.config.dictConfig(json.load(file))
        else:
            if not os.access(config, os.R_OK):
                open(config).close()  # raises what there is to say
            logging.config.fileConfig(config, disable_existing_loggers=False)
    except OSError as exc:
        raise LogError(f"can't read log_config {name}: {exc.strerror}") from exc
    except (
        ValueError,
        TypeError,
        AttributeError,
        ImportError,
        KeyError,
        RuntimeError,
        configparser.Error,
    ) as exc:  # the ways in which logging.config says that it is not right
        cause = exc.__cause__ or exc
        raise LogError(f"log_config {name} is not right: {exc}{f': {cause}' if cause is not exc else ''}") from exc


def _tell_of_access(errors: BackgroundHandler, sentence: str) -> None:
    record = logging.LogRecord("greenserve", logging.WARNING, __file__, 0, f"access log: {sentence}", None, None)
    errors.file.write(errors.format(record) + "\n")


def _fileno(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _replace_handlers(logger: logging.Logger, handler: logging.Handler) -> None:
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
        if isinstance(old, BackgroundHandler):
            old.file.close()
    logger.addHandler(handler)
    logger.propagate = False
