"""File descriptors and who waits on them. Knows nothing of greenlets: whoever waits is a `Handle`.

Facts this rests on (Linux epoll(7)):

- epoll forgets an fd when the last copy of its open file is closed, and the kernel hands the number out again
  at once. While another copy lives (dup, fork), a closed fd stays registered and can't be taken out any more: only
  a new epoll is rid of it.
- ``EPOLLHUP`` and ``EPOLLERR`` are reported whether asked for or not.
- Regular files and directories can't be polled at all: EPERM.

What this means for us: what we believe to be registered is a hint, corrected by ENOENT and EEXIST; an owner
says when its fd is about to be closed (`Source.close`), before the number can be used again; an event that nobody
waits for is the moment to take the interest back, since a level-triggered poller would report it for ever.

A signal handler may raise after any call here. A waiter is therefore put into its new place before it leaves the old
one: twice in a queue does no harm, in none it would never be woken.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

from greenserve._originals import select, selectors
from greenserve._typing import ClassVar, Protocol
from greenserve.core.timers import Handle
from greenserve.errors import ClosedWhileWaiting, HubError

__all__ = ["BACKENDS", "READ", "WRITE", "Backend", "Poller", "Source", "make_backend"]

# The values are those of EPOLLIN and EPOLLOUT, so that epoll's events need no translation.
READ = 1
WRITE = 4

# An event with any bit beside WRITE is news for readers, and the other way round: errors and hang-ups wake both.
_NOT_READ = ~READ
_NOT_WRITE = ~WRITE


class Backend(Protocol):
    """What the poller asks of the system's readiness interface."""

    name: str

    def update(self, fd: int, old: int, new: int) -> None:
        """Change the interest in ``fd`` from ``old`` to ``new``, masks of READ and WRITE. ``old`` is a hint.

        Raises:
            OSError: EBADF, or EPERM for a file that is always ready.
            HubError: This backend can't watch ``fd``.
        """

    def remove(self, fd: int) -> bool:
        """Take ``fd`` out. False when it was not there. From any OS thread."""

    def renew(self) -> None:
        """Begin again with nothing registered, if that is what it takes to be rid of a file whose fd is gone."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait up to ``timeout`` seconds (None: for ever) and return pairs of fd and events."""

    def close(self) -> None:
        """Release the system's object."""


class EpollBackend:
    """Linux's epoll, without the objects that `selectors.EpollSelector` builds for each event."""

    name = "epoll"

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._epoll = select.epoll()
        # The method itself, without a call of ours around it. It returns up to 1,023 events.
        self.poll: Callable[[float | None], list[tuple[int, int]]] = self._epoll.poll

    def update(self, fd: int, old: int, new: int) -> None:
        first, second, wrong = self._epoll.register, self._epoll.modify, errno.EEXIST
        if old:
            first, second, wrong = second, first, errno.ENOENT
        try:
            first(fd, new)
        except OSError as exc:
            if exc.errno != wrong:
                raise
            second(fd, new)

    def remove(self, fd: int) -> bool:
        try:
            self._epoll.unregister(fd)
        except ValueError:
            return False  # it is closed
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.EBADF, errno.EPERM):
                raise
            return False
        return True

    def renew(self) -> None:
        self._epoll.close()
        self._begin()

    def close(self) -> None:
        self._epoll.close()


class SelectorBackend:
    """Any selector of the standard library: kqueue, poll, select."""

    def __init__(self, name: str, selector: selectors.BaseSelector) -> None:
        self.name = name
        self._selector = selector

    def update(self, fd: int, old: int, new: int) -> None:
        selector = self._selector
        events = (selectors.EVENT_READ if new & READ else 0) | (selectors.EVENT_WRITE if new & WRITE else 0)
        try:
            selector.register(fd, events)
        except KeyError:
            # The number may stand for another file than the one that was registered: kqueue has forgotten that one.
            selector.unregister(fd)
            selector.register(fd, events)

    def remove(self, fd: int) -> bool:
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError, OSError):
            return False  # it was closed, or never there
        return True

    def renew(self) -> None:
        """These know fds, not files."""

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return [
            (key.fd, (READ if mask & selectors.EVENT_READ else 0) | (WRITE if mask & selectors.EVENT_WRITE else 0))
            for key, mask in self._selector.select(timeout)
        ]

    def close(self) -> None:
        self._selector.close()


class SelectBackend(SelectorBackend):
    """select(2), which knows only small numbers, and fails as a whole when one of its fds is closed."""

    def __init__(self) -> None:
        super().__init__("select", selectors.SelectSelector())

    def update(self, fd: int, old: int, new: int) -> None:
        try:
            select.select([fd], [], [], 0)
        except ValueError:
            raise HubError(f"select can't watch the fd {fd}, which is too large for it: use another selector") from None
        super().update(fd, old, new)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        try:
            return super().poll(timeout)
        except OSError as exc:
            if exc.errno != errno.EBADF:
                raise
        # Report those that were closed behind our back, so that their waiters see the error, and the others go on.
        return [(fd, READ | WRITE) for fd in list(self._selector.get_map()) if self._is_closed(fd)]

    def _is_closed(self, fd: int) -> bool:
        try:
            select.select([fd], [], [], 0)
        except OSError:
            self._selector.unregister(fd)
            return True
        return False


def _standard(name: str, attribute: str) -> Callable[[], Backend]:
    def make() -> Backend:
        return SelectorBackend(name, getattr(selectors, attribute)())

    return make


# In order of preference; only those the system has.
BACKENDS: dict[str, Callable[[], Backend]] = {
    **({"epoll": EpollBackend} if hasattr(select, "epoll") else {}),
    **({"kqueue": _standard("kqueue", "KqueueSelector")} if hasattr(selectors, "KqueueSelector") else {}),
    **({"poll": _standard("poll", "PollSelector")} if hasattr(selectors, "PollSelector") else {}),
    "select": SelectBackend,
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

    # Lists, not deques: nearly always empty or one long, and an empty deque takes ten times the memory.
    queue_type: ClassVar[type[list[Handle]]] = list

    def __init__(self, poller: Poller, fd: int) -> None:
        self.poller = poller
        self.fd = fd
        self.mask = 0  # what we asked the system for: a hint
        self.readers = self.queue_type()
        self.writers = self.queue_type()
        self.closed = False

    def is_awaited(self, events: int) -> bool:
        """Whether somebody waits for any of ``events``, as a backend reports them."""
        return bool((events & _NOT_WRITE and self.readers) or (events & _NOT_READ and self.writers))

    def take_waiters(self) -> list[Handle]:
        """Take everybody out who waits, in either direction. In the hub's own OS thread."""
        waiting = self.readers + self.writers
        self.readers.clear()
        self.writers.clear()
        return waiting

    def close(self) -> bool:
        """Forget the fd, before it is closed. True when somebody waits: the caller tells them. From any OS thread."""
        if self.closed:
            return False
        # In this order. Whoever begins to wait meanwhile is either seen here, or sees `closed` in `Poller.want`.
        self.closed = True
        self.poller.forget(self)
        return bool(self.readers or self.writers)


def _interest(source: Source) -> int:
    return (READ if source.readers else 0) | (WRITE if source.writers else 0)


class Poller:
    """All fds of one hub. For one OS thread, except `Source.close`, which may come from any."""

    __slots__ = ("_ghosts", "backend", "sources")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.sources: dict[int, Source] = {}
        self._ghosts: set[int] = set()  # fds that were reported once though they were not registered

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
        else:
            # An earlier owner may have closed the number without a word: ask the system anew at the next wait.
            source.mask = 0
        return source

    def want(self, source: Source, direction: int) -> bool:
        """Register interest in ``direction``. False when the fd is of a kind that is always ready (a regular file).

        Raises:
            OSError: EBADF.
            ClosedWhileWaiting: Another OS thread has closed it just now.
            HubError: The backend can't watch this fd.
        """
        old = source.mask
        # First: a finalizer or a signal handler may come in between, and wait, and so let this hub poll.
        source.mask = new = old | direction | _interest(source)
        try:
            self.backend.update(source.fd, old, new)
        except PermissionError:
            source.mask = old
            return False
        except (OSError, HubError):
            source.mask = old
            if not source.closed:
                raise
        if source.closed:
            self.forget(source)
            raise ClosedWhileWaiting(errno.EBADF, "closed, perhaps by another OS thread")
        return True

    def forget(self, source: Source) -> None:
        """Take ``source`` out of the table and out of the system's. From any OS thread."""
        if self.sources.get(source.fd) is source:
            self.sources.pop(source.fd, None)
        if source.mask:
            source.mask = 0
            self.backend.remove(source.fd)

    def poll(self, timeout: float | None, ready: deque[Handle]) -> None:
        """Wait up to ``timeout`` seconds, then append one waiter for each fd and direction that is ready to ``ready``.

        One, because the first may use up what there is; the others are reported again if it does not.
        """
        sources = self.sources
        for fd, events in self.backend.poll(timeout):
            source = sources.get(fd)
            if source is None:
                self._drop(fd)
                continue
            if events == READ and source.readers:  # what is nearly always so, for less
                readers = source.readers
                ready.append(readers[0])
                del readers[0]
                continue
            idle = 0
            if events & _NOT_WRITE:
                readers = source.readers
                if readers:
                    ready.append(readers[0])
                    del readers[0]
                else:
                    idle = READ
            if events & _NOT_READ:
                writers = source.writers
                if writers:
                    ready.append(writers[0])
                    del writers[0]
                else:
                    idle |= WRITE
            if idle:
                self._lose_interest(source, idle, ready)

    def _lose_interest(self, source: Source, idle: int, ready: deque[Handle]) -> None:
        old = source.mask
        # ``old`` is a hint: those who still wait are why something must stay.
        kept = (old & ~idle) | _interest(source)
        if not kept:
            source.mask = 0
            self._drop(source.fd)
        elif kept != old:
            try:
                self.backend.update(source.fd, old, kept)
            except OSError:
                # Closed behind our back: they see the error themselves.
                kept = 0
                ready.extend(source.take_waiters())
            source.mask = kept

    def _drop(self, fd: int) -> None:
        """Have ``fd`` reported no more."""
        if self.backend.remove(fd):
            return
        # Another OS thread was faster; or it is a closed fd whose file lives on elsewhere, which is reported for ever.
        if fd not in self._ghosts:
            self._ghosts.add(fd)
            return
        self._ghosts.clear()
        self.backend.renew()
        for source in list(self.sources.values()):
            if source.mask:
                try:
                    self.backend.update(source.fd, 0, source.mask)
                except OSError:
                    source.mask = 0

    def is_waiting(self, besides: Source) -> bool:
        """Whether anybody waits on any fd other than that of ``besides``."""
        try:
            for source in self.sources.values():
                if (source.readers or source.writers) and source is not besides:
                    return True
        except RuntimeError:
            return True  # another OS thread has closed one meanwhile, and may do more
        return False

    def close(self) -> None:
        """Release the system's object. Every source is closed then; nobody who waits is told."""
        for source in self.sources.values():
            source.closed = True
            source.mask = 0
            source.take_waiters()
        self.sources.clear()
        self.backend.close()
