"""Where a process finds its application: its directory, what is in front of ``sys.path``, its variables, its umask.

They are entered at the start, and once more before each loading of the application: a deployment may be a symbolic link
that leads somewhere else by the time of a reload, and the settings may have changed. What is as it was is not touched,
so that what hooks have done about it holds.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from greenserve.config import Config
from greenserve.errors import GreenserveError, SettingError

__all__ = ["DirectoryError", "Surroundings", "logical_directory"]


class DirectoryError(GreenserveError):
    """The directory in which the command was started is not there any more."""


class Surroundings:
    """The surroundings of this process.

    Attributes:
        start: The directory in which the command was started, by the name that the shell has for it.
    """

    __slots__ = ("_directory", "_identity", "_path", "_replaced", "_umask", "_variables", "start")

    def __init__(self) -> None:
        """Look at the process as it is: call this before anything changes the directory.

        Raises:
            DirectoryError: There is no such directory.
        """
        self.start = logical_directory()
        self._identity: tuple[int, int] | None = None
        self._directory = ""
        self._path: list[str] = []
        self._variables: tuple[str, ...] = ()
        self._replaced: dict[str, str | None] = {}  # what was there before raw_env
        self._umask: int | None = None

    def enter(self, config: Config) -> None:
        """Go to ``chdir``, complete ``sys.path``, set the variables of ``raw_env`` and the umask.

        Raises:
            SettingError: There is no such directory.
            DirectoryError: Likewise, of the one where the command was started.
        """
        self._enter_directory(config)
        self._complete_path(config)
        self._set_variables(tuple(config.raw_env or ()))
        if config.umask != self._umask and config.umask is not None:
            os.umask(config.umask)
        self._umask = config.umask

    def _enter_directory(self, config: Config) -> None:
        directory = self.start if config.chdir is None else os.path.join(self.start, config.chdir)
        try:
            status = os.stat(directory)
            identity = status.st_dev, status.st_ino
            if identity != self._identity:
                os.chdir(directory)
        except OSError as exc:
            if self._identity is not None and isinstance(exc, PermissionError):
                return  # who has become another user may be where the way to is not open
            if config.chdir is None:
                raise DirectoryError(f"can't go to {directory}: {exc.strerror}") from exc
            raise SettingError(f"chdir = {config.chdir!r} ({config.origin('chdir')}): {exc.strerror}") from exc
        if identity != self._identity:
            self._identity, self._directory = identity, os.getcwd()

    def _complete_path(self, config: Config) -> None:
        path = [self._directory, *(os.path.join(self._directory, name) for name in config.pythonpath or ())]
        path = [os.path.normpath(name) for name in path]
        if path != self._path:
            for name in self._path:
                with suppress(ValueError):
                    sys.path.remove(name)
            self._path = path
            sys.path[:0] = path

    def _set_variables(self, variables: tuple[str, ...]) -> None:
        if variables == self._variables:
            return
        for name, value in self._replaced.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._variables, self._replaced = variables, {}
        for variable in variables:
            name, _, value = variable.partition("=")
            self._replaced.setdefault(name, os.environ.get(name))
            os.environ[name] = value


def logical_directory() -> str:
    """Return the current directory by the name that the shell has for it, which may lead over symbolic links.

    Raises:
        DirectoryError: It is not there any more.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError as exc:
        raise DirectoryError("the current directory is not there any more: go to one that is") from exc
    with suppress(KeyError, OSError):
        if os.path.samefile(os.environ["PWD"], here):
            return os.environ["PWD"]
    return here
