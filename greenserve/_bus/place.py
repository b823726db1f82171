"""What a worker knows of itself: its number, and where it meets the others. Left for whatever runs in that process.

It is in the environment, since it belongs to the process and to nobody in it; with the number of that process, as
systemd's ``LISTEN_FDS`` has it (sd_listen_fds(3)): a program that a worker starts is not at its place.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from typing import NamedTuple

__all__ = ["Place", "current_place", "new_folder", "number_in", "numbered", "remove_folder", "take_place"]

_VARIABLE = "_GREENSERVE_WORKER"

# The session of a request to Socket.IO: engineio's id, 20 characters of base64 for URLs, and the number behind it.
_SESSION = re.compile(r"(?:^|&)sid=[0-9A-Za-z_-]{20}\.([0-9]{1,4})(?:&|$)")

# A Unix socket's path has 107 bytes at most (unix(7)); a member's name is shorter than what is left here.
_MAX_FOLDER = 80


class Place(NamedTuple):
    """The place of a worker.

    Attributes:
        number: Counted from 0.
        folder: Where the workers of this master have their bus.
    """

    number: int
    folder: str


def take_place(place: Place) -> None:
    """Let this process, and no other, be the worker at ``place``."""
    os.environ[_VARIABLE] = f"{os.getpid()} {place.number} {place.folder}"


def current_place() -> Place | None:
    """Return the place of this process, or None if it is no worker."""
    pid, _, rest = os.environ.get(_VARIABLE, "").partition(" ")
    if pid != str(os.getpid()):
        return None
    number, _, folder = rest.partition(" ")
    return Place(int(number), folder)


def numbered(session: str) -> str:
    """Return the id of a session with the number of this process's place behind it, if it has one."""
    place = current_place()
    return session if place is None else f"{session}.{place.number}"


def number_in(query: str) -> int | None:
    """Return the number behind the id of the session that a query names, or None."""
    match = _SESSION.search(query)
    return int(match[1]) if match else None


def new_folder() -> str:
    """Return a path where nothing is yet, and that nobody else knows. Who needs the folder makes it, if it can."""
    name = f"greenserve-{secrets.token_hex(6)}"
    try:
        path = os.path.join(tempfile.gettempdir(), name)
    except FileNotFoundError:
        # No folder can be written to, as in a container that is read-only: that harms those alone who need this one.
        path = os.path.join("/tmp", name)
    return path if len(os.fsencode(path)) <= _MAX_FOLDER else os.path.join("/tmp", name)


def remove_folder(path: str) -> None:
    """Remove the folder, if there is one, and what dead members have left in it."""
    shutil.rmtree(path, ignore_errors=True)
