"""Who is on a bus: a folder in which each member listens on a Unix socket under a name of its own. Moves no messages.

Facts this rests on (unix(7), connect(2), tmpfiles.d(5)):

- Only who may write to the folder can put a socket there, and only who may search it can connect to one.
- A socket's file outlives whoever listened on it. From then on a connect is refused, as before it listens.
- What clears /tmp of old files leaves a socket alone that is in use under the name which it was bound to.

What this means for us: the folder is its owner's alone, and that is all the protection there is. No name is used twice,
and each has the number of its process: if that is gone, whoever is refused removes the file. None is ever renamed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from contextlib import suppress
from socket import AF_UNIX, SOCK_STREAM

from greenserve.net.listeners import listen
from greenserve.net.sockets import GreenSocket

__all__ = ["Members", "process_of"]


class Members:
    """The members of one channel.

    Attributes:
        folder: Where they meet.
    """

    __slots__ = ("_name", "_prefix", "folder")

    def __init__(self, folder: str, channel: str) -> None:
        self.folder = folder
        # Anything may be a channel's name, of any length.
        self._prefix = hashlib.blake2s(channel.encode(), digest_size=4).hexdigest()
        self._name = re.compile(rf"{self._prefix}-[0-9]+-[0-9a-f]+")

    def enter(self) -> tuple[str, GreenSocket]:
        """Become a member: return the name, which begins with our process's number, and the socket to listen on.

        Raises:
            PermissionError: The folder is open to everybody, or somebody else's who does not share it with our group.
            OSError: There can't be such a folder, or such a socket in it.
        """
        with suppress(FileExistsError):
            os.mkdir(self.folder, 0o700)
        found = os.lstat(self.folder)
        mode = found.st_mode
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(f"{self.folder} is no folder, and can't have the sockets of a message bus")
        if mode & stat.S_IWOTH:
            raise PermissionError(f"anybody may write to {self.folder}: whoever likes could join the message bus there")
        is_shared = mode & stat.S_IWGRP and found.st_gid in {os.getegid(), *os.getgroups()}
        if found.st_uid not in {0, os.geteuid()} and not is_shared:
            raise PermissionError(f"{self.folder} is another user's, who could join the message bus there")
        name = f"{self._prefix}-{os.getpid()}-{secrets.token_hex(4)}"
        return name, listen(os.path.join(self.folder, name))

    def names(self) -> list[str]:
        """Return the names of all members; some of them may be gone."""
        try:
            return [name for name in os.listdir(self.folder) if self._name.fullmatch(name)]
        except FileNotFoundError:
            return []

    def connect(self, name: str, timeout: float | None) -> GreenSocket:
        """Return a blocking socket that is connected to the member of this name. May switch, unless ``timeout`` is 0.

        Raises:
            ConnectionRefusedError: It does not listen. If its process is gone, its name is now, too.
            BlockingIOError: It can't be had without waiting.
            OSError: As the system says.
        """
        path = os.path.join(self.folder, name)
        sock = GreenSocket(AF_UNIX, SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
            sock.settimeout(None)
        except BaseException as exc:
            sock.close()
            if isinstance(exc, ConnectionRefusedError) and not _runs(process_of(name)):
                self.remove(name)
            raise
        return sock

    def remove(self, name: str) -> None:
        """Take the name of a member that is gone off the list."""
        with suppress(OSError):
            os.unlink(os.path.join(self.folder, name))


def process_of(name: str) -> int:
    """Return the number of the process of the member of this name."""
    return int(name.split("-")[1])


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # somebody else's, or no process's at all: not ours to decide
    return True
