"""File descriptors and who waits on them. Knows nothing of greenlets: whoever waits is a `Handle`.

Facts this rests on (Linux epoll(7)):

- epoll forgets an fd when the last copy of its open file is closed, and the kernel hands the number out again
  at once. While another copy lives (dup, fork), a closed fd stays registered and can't be taken out any more.
- ``EPOLLHUP`` and ``EPOLLERR`` are reported whether asked for or not.
- Regular files and directories can't be polled at all: EPERM.

What this means for us: what we believe to be registered is a hint, corrected by ENOENT and EEXIST; an owner
says when its fd is about to be closed (`Source.close`), before the number can be used again; an event that nobody
waits for is the moment to take the interest back, since a level-triggered poller would report it for ever.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import Protocol

from greenserve._originals import select, selectors
from greenserve.core.timers import Handle
from greenserve.errors import HubError

__all__ = ["BACKENDS", "READ", "WRITE", "Backend", "Poller", "Source", "make_backend"]

# The values are those of EPOLLIN and EPOLLOUT, so that epoll's events need no translation.
READ = 1
WRITE = 4

# An event with any bit beside WRITE is news for readers, and the other way round: errors and hang-ups wake both.
_NOT_READ = ~READ
_NOT_WRITE = ~WRITE

_MAX_EVENTS = 512


class Backend(Protocol):
    """What the poller asks of the system's readiness interface."""

    name: str

    def update(self, fd: int, old: int, new: int) -> None:
        """Change the interest in ``fd`` from ``old`` to ``new``, masks of READ and WRITE. ``old`` is a hint.

        Raises:
            OSError: EBADF, or EPERM for a file that is always ready.
        """

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait up to ``timeout`` seconds (None: for ever) and return pairs of fd and events."""

    def close(self) -> None:
        """Release the system's object."""


class EpollBackend:
    """Linux's epoll, without the objects that `selectors.EpollSelector` builds for each event."""

    name = "epoll"

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._poll = self._epoll.poll

    def update(self, fd: int, old: int, new: int) -> None:
        if not new:
            try:
                self._epoll.unregister(fd)
            except OSError as exc:
                if exc.errno not in (errno.ENOENT, errno.EBADF, errno.EPERM):
                    raise
            return
        first, second, wrong = self._epoll.register, self._epoll.modify, errno.EEXIST
        if old:
            first, second, wrong = second, first, errno.ENOENT
        try:
            first(fd, new)
        except OSError as exc:
            if exc.errno != wrong:
                raise
            second(fd, new)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._poll(timeout, _MAX_EVENTS)

    def close(self) -> None:
        self._epoll.close()


class SelectorBackend:
    """Any selector of the standard library: kqueue, poll, select."""

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.name = name
        self._selector = selector

    def update(self, fd: int, old: int, new: int) -> None:
        selector = self._selector
        if not new:
            try:
                selector.unregister(fd)
            except (KeyError, ValueError, OSError):
                pass  # it was closed, or never there
            return
        events = (selectors.EVENT_READ if new & READ else 0) | (selectors.EVENT_WRITE if new & WRITE else 0)
        try:
            selector.register(fd, events)
        except KeyError:
            # The number may stand for another file than the one that was registered: kqueue has forgotten that one.
            selector.unregister(fd)
            selector.register(fd, events)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        try:
            events = self._selector.select(timeout)
        except (OSError, ValueError) as exc:
            if isinstance(exc, OSError) and exc.errno != errno.EBADF:
                raise
            return self._drop_closed()
        return [
            (key.fd, (READ if mask & selectors.EVENT_READ else 0) | (WRITE if mask & selectors.EVENT_WRITE else 0))
            for key, mask in events
        ]

    def _drop_closed(self) -> list[tuple[int, int]]:
        # select() fails as a whole when one fd was closed behind our back; report that one, so that its waiters see
        # the error themselves, and the others go on.
        closed = []
        for fd in list(self._selector.get_map()):
            try:
                select.select([fd], [], [], 0)
            except (OSError, ValueError):
                self._selector.unregister(fd)
                closed.append((fd, READ | WRITE))
        return closed

    def close(self) -> None:
        self._selector.close()


def _standard(name: str, attribute: str) -> Callable[[], Backend]:
    def make() -> Backend:
        return SelectorBackend(name, getattr(selectors, attribute)())

    return make


# In order of preference; only those the system has.
BACKENDS: dict[str, Callable[[], Backend]] = {
    **({"epoll": EpollBackend} if hasattr(select, "epoll") else {}),
    **({"kqueue": _standard("kqueue", "KqueueSelector")} if hasattr(selectors, "KqueueSelector") else {}),
    **({"poll": _standard("poll", "PollSelector")} if hasattr(selectors, "PollSelector") else {}),
    "select": _standard("select", "SelectSelector"),
}


def make_backend(name: str | None = None) -> Backend:
    """Return the backend called ``name``, or the best one.

    Raises:
        HubError: This system has no such backend. The message names those it has.
    """
    if name is None:
        return next(iter(BACKENDS.values()))()
    try:
        make = BACKENDS[name]
    except KeyError:
        raise HubError(f"no selector {name!r} here: choose one of {', '.join(BACKENDS)}") from None
    return make()


class Source:
    """One fd in one poller, and who waits on it in each direction, first come first served.

    It stays registered between waits: a keep-alive connection costs no ``epoll_ctl`` in the steady state. That is
    sound only for an owner that calls `close` before it closes the fd.
    """

    __slots__ = ("closed", "fd", "mask", "poller", "readers", "writers")

    def __init__(self, poller: Poller, fd: int) -> None:
        self.poller = poller
        self.fd = fd
        self.mask = 0  # what we asked the system for: a hint
        # Lists, not deques: nearly always empty or one long, and an empty deque takes ten times the memory.
        self.readers: list[Handle] = []
        self.writers: list[Handle] = []
        self.closed = False

    def waiters(self) -> list[Handle]:
        """Everybody who waits, in either direction."""
        return self.readers + self.writers

    def close(self) -> list[Handle]:
        """Forget the fd, before it is closed. Returns those who were waiting: the caller tells them. Idempotent."""
        if self.closed:
            return []
        self.closed = True
        waiting = self.waiters()
        self.readers.clear()
        self.writers.clear()
        self.poller.forget(self)
        return waiting


class Poller:
    """All fds of one hub. For one OS thread, except `Source.close`, which may come from any."""

    __slots__ = ("backend", "sources")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sources: dict[int, Source] = {}

    def source(self, fd: int) -> Source:
        """Return the `Source` of ``fd`` for somebody who has not used it before.

        Raises:
            ValueError: ``fd`` is negative.
        """
        if fd < 0:
            raise ValueError(f"not a file descriptor: {fd}")
        source = self.sources.get(fd)
        if source is None:
            source = self.sources[fd] = Source(self, fd)
        elif not source.readers and not source.writers:
            # An earlier owner may have closed the number without a word: ask the system anew at the next wait.
            source.mask = 0
        return source

    def want(self, source: Source, direction: int) -> bool:
        """Register interest in ``direction``. False when the fd is of a kind that is always ready (a regular file).

        Raises:
            OSError: EBADF.
        """
        wanted = source.mask | direction
        try:
            self.backend.update(source.fd, source.mask, wanted)
        except PermissionError:
            return False
        source.mask = wanted
        return True

    def forget(self, source: Source) -> None:
        """Take ``source`` out of the table and out of the system's."""
        if self.sources.get(source.fd) is source:
            del self.sources[source.fd]
        if source.mask:
            source.mask = 0
            self.backend.update(source.fd, READ, 0)

    def poll(self, timeout: float | None, ready: deque[Handle]) -> None:
        """Wait up to ``timeout`` seconds, then append one waiter for each fd and direction that is ready to ``ready``.

        One, because the first may use up what there is; the others are reported again if it does not.
        """
        sources = self.sources
        for fd, events in self.backend.poll(timeout):
            source = sources.get(fd)
            if source is None:
                self.backend.update(fd, READ, 0)
                continue
            idle = 0
            if events & _NOT_WRITE:
                if source.readers:
                    ready.append(source.readers.pop(0))
                else:
                    idle = READ
            if events & _NOT_READ:
                if source.writers:
                    ready.append(source.writers.pop(0))
                else:
                    idle |= WRITE
            if idle:
                self._lose_interest(source, idle)

    def _lose_interest(self, source: Source, idle: int) -> None:
        kept = source.mask & ~idle
        if not source.readers and not source.writers and idle == READ | WRITE:
            kept = 0  # a hang-up is reported whatever the mask: only leaving helps
        if kept != source.mask:
            try:
                self.backend.update(source.fd, source.mask, kept)
            except OSError:
                kept = 0  # closed behind our back
            source.mask = kept

    def is_waiting(self, besides: Source) -> bool:
        """Whether anybody waits on any fd other than that of ``besides``."""
        # The list is made in one step: another thread may close a source meanwhile.
        return any(
            (source.readers or source.writers) and source is not besides for source in list(self.sources.values())
        )

    def close(self) -> None:
        """Release the system's object."""
        self.backend.close()
