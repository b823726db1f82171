"""What the service manager is told, and what it left us: systemd's readiness protocol and its socket activation.

Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

from greenserve._originals import base_socket, monotonic

__all__ = ["Notifier", "take_listen_fds"]

log = logging.getLogger("greenserve.supervisor")

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def take_listen_fds(environ: MutableMapping[str, str]) -> list[int]:
    """Return the numbers of the sockets that systemd opened for this process, and take that out of ``environ``.

    Raises:
        ValueError: The variables are there and make no sense.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not pid or not count or int(pid) != os.getpid():
        return []
    return list(range(_FIRST_FD, _FIRST_FD + int(count)))


class Notifier:
    """Tells the service manager, if there is one. What it is told never stops us: errors are only logged.

    Attributes:
        watchdog: How often it wants to hear from us, in seconds: half of what it waits. None if it does not.
    """

    __slots__ = ("_address", "watchdog")

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Take what it left in ``environ`` out of there, so that the application's children don't speak for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        # An "@" stands for the zero byte that abstract names begin with.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = self._watchdog_of(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))

    def _watchdog_of(self, microseconds: str, pid: str) -> float | None:
        if not self._address or not microseconds.isdigit() or (pid and pid != str(os.getpid())):
            return None
        return int(microseconds) / 2_000_000 or None

    def ready(self, status: str) -> None:
        """The start, or a reload, is done."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun. The time is what Type=notify-reload wants beside it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def main_process(self, pid: int) -> None:
        """The service's main process is ``pid`` from now on."""
        self._send(f"MAINPID={pid}")

    def alive(self) -> None:
        """For the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        sock = base_socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        try:
            sock.setblocking(False)  # a manager that hangs must not hang us
            sock.sendto(message.encode(), self._address)
        except OSError as exc:
            log.warning("can't tell the service manager %s: %s", message.partition("\n")[0], exc)
        finally:
            sock.close()
