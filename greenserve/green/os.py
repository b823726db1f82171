"""What differs in the module ``os``: reading and writing pipes, and waiting for processes.

Facts this rests on:

- ``O_NONBLOCK`` belongs to the open file, which other processes may share: it is not ours to change.
- A pipe or socket that poll(2) calls readable gives what it has without blocking; a pipe that it calls writable takes
  at least ``PIPE_BUF`` bytes, which is 4096 on Linux (pipe(7)).
- A pidfd is readable once its process has ended (pidfd_open(2), Linux 5.3).

What this means for us: whoever would block asks poll first and parks until it says yes, for a blocking fd; an fd that
the program made non-blocking raises BlockingIOError, as ever. Nothing here fails where a green thread can't park: there
the call blocks, as it does unpatched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select as _poll_constants
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from greenserve import _originals
from greenserve.core.waiters import sleep, wait_readable
from greenserve.green._parking import find_hub, give_way, park_on
from greenserve.net.threads import execute

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "may_block",
    "read",
    "readv",
    "system",
    "wait",
    "wait3",
    "wait4",
    "wait_process",
    "wait_ready",
    "waitid",
    "waitpid",
    "write",
    "writev",
]

T = TypeVar("T")

_IN = _poll_constants.POLLIN
_OUT = _poll_constants.POLLOUT
_PIPE_BUF: int = _poll_constants.PIPE_BUF

_ALL_STATES = os.WEXITED | os.WSTOPPED | os.WCONTINUED

# No pidfd: the kernel is too old, forbids it, or has reached a limit.
_NO_PIDFD = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ENOMEM})

# Where the system tells nobody that a process has ended, it is asked again after so many seconds, at first and at most.
_MIN_PAUSE = 0.001
_MAX_PAUSE = 0.05


# Pipes --------------------------------------------------------------------------------------------------------------


def _is_ready(fd: int, mask: int) -> bool:
    poll = _originals.poll_type()
    poll.register(fd, mask)
    return bool(poll.poll(0))


def may_block(fd: int, mask: int) -> bool:
    """Whether a read (POLLIN) or write (POLLOUT) may have to wait: no regular file, blocking, opened for that."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
            return False
        flags: int = fcntl.fcntl(fd, fcntl.F_GETFL)
        return not flags & os.O_NONBLOCK and flags & os.O_ACCMODE != (os.O_WRONLY if mask == _IN else os.O_RDONLY)
    except (OSError, TypeError, OverflowError):
        return False  # the call itself says what is wrong


def wait_ready(fd: int, mask: int) -> bool:
    """Park until the blocking ``fd`` is ready for ``mask``, POLLIN or POLLOUT. May switch.

    False when the call can be made right away: it would not block, or has to block since nobody could park here.
    """
    hub = find_hub()
    if hub is None or not may_block(fd, mask):
        return False
    give_way(hub)
    # Again and again, since several may wait for the same fd, and the first may take everything.
    while not _is_ready(fd, mask):
        park_on(hub, [fd] if mask == _IN else [], [fd] if mask == _OUT else [], None)
    return True


def read(fd: int, length: int, /) -> bytes:
    """``os.read``. May switch."""
    wait_ready(fd, _IN)
    return _originals.os_read(fd, length)


def readv(fd: int, buffers: Sequence[WriteableBuffer], /) -> int:
    """``os.readv``. May switch."""
    wait_ready(fd, _IN)
    return _originals.os_readv(fd, buffers)


def write(fd: int, data: ReadableBuffer, /) -> int:
    """``os.write``. A blocking fd takes all of ``data``. May switch."""
    if not wait_ready(fd, _OUT):
        return _originals.os_write(fd, data)
    view = memoryview(data).cast("B")
    written = _originals.os_write(fd, view[:_PIPE_BUF])
    while written < len(view):
        try:
            wait_ready(fd, _OUT)
            written += _originals.os_write(fd, view[written : written + _PIPE_BUF])
        except OSError:
            return written  # the next call meets it again
    return written


def writev(fd: int, buffers: Sequence[ReadableBuffer], /) -> int:
    """``os.writev``. A blocking fd takes all of ``buffers``. May switch."""
    if not wait_ready(fd, _OUT):
        return _originals.os_writev(fd, buffers)
    return write(fd, b"".join(buffers))


# Processes ----------------------------------------------------------------------------------------------------------


def wait_process(pid: int, timeout: float | None = None) -> bool:
    """Park until our child ``pid`` has ended, without reaping it. False after ``timeout`` seconds. May switch.

    Raises:
        OSError: The system can't tell: it has no pidfd, or there is no such process (ProcessLookupError).
    """
    hub = find_hub()
    if hub is None or not hasattr(os, "pidfd_open"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fd = os.pidfd_open(pid)
    source = hub.poller.source(fd)
    try:
        return wait_readable(source, timeout)
    finally:
        hub.close_source(source)
        _originals.os_close(fd)


def _wait_for_child(pid: int, options: int, ask: Callable[[int], T], is_answer: Callable[[T], bool]) -> T:
    """Return the first ``ask(options | WNOHANG)`` that is an answer. May switch."""
    hub = find_hub()
    if hub is None or options & os.WNOHANG:
        return ask(options)
    give_way(hub)
    pause = _MIN_PAUSE
    while True:
        found = ask(options | os.WNOHANG)
        if is_answer(found):
            return found
        # A pidfd tells of the end alone, and of one process alone.
        if pid > 0 and not options & (os.WUNTRACED | os.WCONTINUED):
            try:
                wait_process(pid)
                continue
            except OSError as exc:
                if exc.errno not in _NO_PIDFD:
                    raise
        sleep(pause)
        pause = min(pause * 2, _MAX_PAUSE)


def _has_pid(found: tuple[Any, ...]) -> bool:
    return bool(found[0])


def waitpid(pid: int, options: int, /) -> tuple[int, int]:
    """``os.waitpid``. May switch."""
    return _wait_for_child(pid, options, partial(_originals.os_waitpid, pid), _has_pid)


def wait() -> tuple[int, int]:
    """``os.wait``. May switch."""
    return waitpid(-1, 0)


def wait3(options: int) -> tuple[int, int, Any]:
    """``os.wait3``. May switch."""
    return _wait_for_child(-1, options, _originals.os_wait3, _has_pid)


def wait4(pid: int, options: int) -> tuple[int, int, Any]:
    """``os.wait4``. May switch."""
    return _wait_for_child(pid, options, partial(_originals.os_wait4, pid), _has_pid)


def waitid(idtype: int, ident: int, options: int, /) -> Any:
    """``os.waitid``. May switch."""
    ask = partial(_originals.os_waitid, idtype, ident)
    pid = ident if idtype == os.P_PID and options & _ALL_STATES == os.WEXITED else -1
    return _wait_for_child(pid, options, ask, lambda found: found is not None)


def system(command: str | bytes | os.PathLike[Any]) -> int:
    """``os.system``, in a native thread. May switch."""
    return _originals.os_system(command) if find_hub() is None else execute(_originals.os_system, command)
