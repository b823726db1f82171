"""As whom a process runs, and what it is called: user, groups, PID file, title, terminal."""

from __future__ import annotations

import errno
import grp
import logging
import os
import pwd
import stat

from greenserve import extras
from greenserve.config import Config
from greenserve.errors import GreenserveError, MissingExtra, SettingError

__all__ = ["Owner", "PidFile", "PidFileError", "find_owner", "has_terminal", "set_title"]


log = logging.getLogger("greenserve.supervisor")


class PidFileError(GreenserveError):
    """The PID file can't be written. The message says why."""


class Owner:
    """User and group that processes run as, and that their files belong to.

    Attributes:
        uid: None leaves it as it is.
        gid: Likewise.
    """

    __slots__ = ("_name", "gid", "uid")

    def __init__(self, config: Config) -> None:
        """Look up ``user`` and ``group``.

        Raises:
            SettingError: There is no such user or group, or none but root may become it.
        """
        self.uid: int | None = None
        self.gid: int | None = None
        self._name: str | None = None  # whose other groups there are to take
        if config.user is not None:
            user = _find_user(config)
            if isinstance(user, int):
                # Containers run under such numbers. A group goes with none of them: the one that there is stays, and
                # no other of root's.
                self.uid, self.gid = user, os.getegid()
            else:
                self.uid, self.gid = user.pw_uid, user.pw_gid
                self._name = user.pw_name if config.initgroups else None
        if config.group is not None:
            self.gid = _find_group(config)
        for name, wanted, present in (("user", self.uid, os.geteuid()), ("group", self.gid, os.getegid())):
            if wanted is not None and wanted != present and os.geteuid() != 0:
                given = name if config.is_set(name) else "user"
                where = f"{given} = {getattr(config, given)!r} ({config.origin(given)})"
                raise SettingError(f"{where}: only root may become another {name}")

    def give(self, path: str) -> None:
        """Let the file at ``path`` belong to them."""
        if self.uid is not None or self.gid is not None:
            os.chown(path, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)

    def give_logs(self, config: Config) -> None:
        """Let the log files belong to them, and be there: who has become them opens those anew after a rotation.

        What is no file, such as ``/dev/null`` or a pipe, is not ours to give away, and is never rotated.

        Raises:
            OSError: One can't be written.
        """
        if self.uid is None and self.gid is None:
            return
        for path in (config.error_logfile, config.access_logfile):
            if path not in (None, "-") and not _is_special(path):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666))
                self.give(path)

    def become(self) -> None:
        """Run as them from now on. There is no way back."""
        if self.gid is not None and (self.gid != os.getegid() or os.geteuid() == 0):
            if self._name is not None:
                os.initgroups(self._name, self.gid)
            elif os.geteuid() == 0:
                os.setgroups([self.gid])  # root's other groups are not theirs
            os.setgid(self.gid)
        if self.uid is not None and self.uid != os.geteuid():
            os.setuid(self.uid)


def find_owner(config: Config) -> None:
    """Look up ``user`` and ``group``, whoever may become them.

    Raises:
        SettingError: There is no such user or group.
    """
    if config.user is not None:
        _find_user(config)
    if config.group is not None:
        _find_group(config)


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


# What -1 is as an unsigned number stands for "leave it" (chown(2), setresuid(2)).
_HIGHEST_ID = 2**32 - 2


def _find_user(config: Config) -> pwd.struct_passwd | int:
    """Return the user, or the mere number of one that has no entry."""
    number = _read_id(config.user)
    try:
        return pwd.getpwnam(config.user) if number is None else pwd.getpwuid(number)
    except KeyError:
        if number is not None:
            return number
        raise SettingError(f"user = {config.user!r} ({config.origin('user')}): there is no such user") from None


def _find_group(config: Config) -> int:
    number = _read_id(config.group)
    try:
        return grp.getgrnam(config.group).gr_gid if number is None else number
    except KeyError:
        raise SettingError(f"group = {config.group!r} ({config.origin('group')}): there is no such group") from None


def _read_id(text: str) -> int | None:
    """Return the number that ``text`` is, or None where it can only be a name."""
    is_number = len(text) <= 10 and text.isascii() and text.isdigit() and int(text) <= _HIGHEST_ID
    return int(text) if is_number else None


class PidFile:
    """A file with the number of this process.

    Attributes:
        path: Where it is.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        """Write it.

        Raises:
            PidFileError: It can't be written, or names a process that runs.
        """
        self.path = os.path.abspath(path)
        other = self._read()
        if other is not None and other != os.getpid() and _runs(other):
            raise PidFileError(f"the PID file {path} names process {other}, which runs: is it another greenserve?")
        self._write(path)

    def _write(self, shown: str) -> None:
        # A file of another name first: nobody is to read half of a number.
        new = f"{self.path}.{os.getpid()}.new"
        try:
            with open(new, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
            os.replace(new, self.path)
        except OSError as exc:
            raise PidFileError(f"can't write the PID file {shown}: {exc.strerror}") from exc

    def _read(self) -> int | None:
        try:
            with open(self.path, encoding="ascii") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return None

    def rename(self, path: str) -> None:
        """Let it be at ``path``."""
        path = os.path.abspath(path)
        os.replace(self.path, path)
        self.path = path

    def remove(self) -> None:
        """Remove it, unless it names another process by now.

        Who has become another user may not be allowed to. Then it stays, and the next to write it takes it over.
        """
        if self._read() == os.getpid():
            try:
                os.unlink(self.path)
            except OSError as exc:
                log.info("the PID file %s stays: %s", self.path, exc.strerror)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as exc:
        return exc.errno == errno.EPERM
    except OverflowError:
        return False
    return pid > 0


def set_title(config: Config, role: str) -> None:
    """Let `ps` show what this process does, if the package for that is installed.

    Raises:
        MissingExtra: It is not, and ``proc_name`` is set.
    """
    try:
        titles = extras.load("title", "greenserve.supervisor._setproctitle")
    except MissingExtra:
        if config.proc_name is None:
            return
        raise
    titles.set_title(f"{config.proc_name or 'greenserve'}: {role} [{config.wsgi_app or 'demo'}]")


def has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError as exc:
        return exc.errno not in {errno.ENXIO, errno.ENOENT, errno.ENOTTY}
    return True
