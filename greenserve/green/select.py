"""What differs in the module ``select``: ``select``, poll and epoll objects wait in the hub.

Each first asks the system without waiting, so that what it reports, for which objects and with which errors, is the
system's own answer; only then does it park, and asks again when something may have changed.

Facts this rests on (Linux epoll(7), select(2)):

- An epoll object can be watched by another one: it is readable while it has something to report.
- ``EPOLLPRI``, what ``select`` calls exceptional, ``EPOLLRDHUP`` and a hang-up alone are neither readable nor writable.

What this means for us: for such conditions an epoll object of our own stands in between, edge-triggered, since a
hang-up that nobody asked for would wake us for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from greenserve._originals import monotonic
from greenserve._originals import select as _native
from greenserve.core.hub import Hub
from greenserve.core.poller import Source
from greenserve.core.waiters import sleep, wait_readable
from greenserve.errors import ClosedWhileWaiting
from greenserve.green._loops import notice_loop
from greenserve.green._parking import find_hub, give_way, park_on

__all__ = ["epoll", "poll", "select"]

T = TypeVar("T")

_IN: int = _native.POLLIN
_OUT: int = _native.POLLOUT
_PRI: int = _native.POLLPRI
_READABLE = _IN | _native.POLLRDNORM | _native.POLLRDBAND
_WRITABLE = _OUT | _native.POLLWRNORM | _native.POLLWRBAND

_MAX_MILLISECONDS = 2**31 - 1

# A wake-up that brings nothing costs this pause, in seconds: what the system does not count as ready, but wakes us for,
# must not keep us spinning.
_PAUSE = 0.001


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """``select.select``. May switch."""
    hub = find_hub()
    # An iterator can be read only once, and whoever has a list may change it while we wait.
    lists = [given if isinstance(given, (list, tuple)) else _listed(given) for given in (rlist, wlist, xlist)]
    if hub is None:
        found: tuple[list[Any], list[Any], list[Any]] = _native.select(*lists, timeout)
        return found
    if timeout is not None:
        timeout = _check_seconds(timeout)
    ask: Callable[[], tuple[list[Any], list[Any], list[Any]]] = partial(_native.select, *lists, 0)
    return _ask(hub, ask, any, partial(_masks_of, lists), timeout)


def _masks_of(lists: list[Any]) -> dict[int, int]:
    masks: dict[int, int] = {}
    for given, mask in zip(lists, (_IN, _OUT, _PRI)):
        for each in given:
            fd = _fileno(each)
            masks[fd] = masks.get(fd, 0) | mask
    return masks


def _listed(given: Any) -> Any:
    try:
        return list(given)
    except TypeError:
        return given  # the system's call says what is wrong with it


def _check_seconds(timeout: Any) -> float:
    if not isinstance(timeout, (int, float)):
        raise TypeError("timeout must be a float or None")
    if timeout < 0:
        raise ValueError("timeout must be non-negative")
    return timeout


def _fileno(obj: Any) -> int:
    fd: int = obj if isinstance(obj, int) else obj.fileno()
    return fd


def _ask(
    hub: Hub,
    ask: Callable[[], T],
    is_answer: Callable[[T], bool],
    masks: Callable[[], dict[int, int]],
    timeout: float | None,
) -> T:
    """Return the first ``ask()`` that is an answer, or the last one once ``timeout`` seconds are over. May switch."""
    deadline = _begin(hub, timeout)
    woken_for_nothing = False
    while True:
        found = ask()
        if timeout == 0 or is_answer(found):
            return found
        left = None if deadline is None else deadline - monotonic()
        if woken_for_nothing:
            sleep(_PAUSE if left is None else max(0, min(left, _PAUSE)))
        try:
            if (left is not None and left <= 0) or not _park(hub, masks(), left):
                return found
        except ClosedWhileWaiting:
            continue  # the system says what that means
        woken_for_nothing = True


def _begin(hub: Hub, timeout: float | None) -> float | None:
    """Give others their turn, and return the deadline. May switch."""
    notice_loop(hub)
    if timeout == 0:
        sleep(0)  # whoever asks again and again without waiting would keep everybody else from running
        return None
    give_way(hub)
    return None if timeout is None else monotonic() + timeout


def _park(hub: Hub, masks: dict[int, int], timeout: float | None) -> bool:
    """Park until something may have changed. False after ``timeout`` seconds. May switch."""
    readers = [fd for fd, mask in masks.items() if mask & _READABLE]
    writers = [fd for fd, mask in masks.items() if mask & _WRITABLE]
    others = {fd: mask for fd, mask in masks.items() if mask & ~(_READABLE | _WRITABLE) or not mask}
    if not others or not hasattr(_native, "epoll"):
        return park_on(hub, readers + list(others), writers, timeout)
    with _native.epoll() as between:
        for fd, mask in others.items():
            try:
                between.register(fd, mask | _native.EPOLLET)
            except PermissionError:
                continue  # a regular file has no such conditions
        try:
            return park_on(hub, [*readers, between.fileno()], writers, timeout)
        finally:
            hub.close_source(hub.poller.source(between.fileno()))


class poll:  # noqa: N801 - the name of select.poll, for which it stands
    """``select.poll()``, an object that remembers fds and what is asked of them."""

    __slots__ = ("__weakref__", "_masks", "_native", "_polling")

    def __init__(self) -> None:
        self._native = _native.poll()
        self._masks: dict[int, int] = {}
        self._polling = False

    def register(self, fd: Any, eventmask: int = _IN | _PRI | _OUT, /) -> None:
        """Ask for ``eventmask`` of ``fd``, an int or an object with ``fileno()``, in place of what was asked before."""
        self._native.register(fd, eventmask)
        self._masks[_fileno(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """As `register`.

        Raises:
            FileNotFoundError: ``fd`` was not registered.
        """
        self._native.modify(fd, eventmask)
        self._masks[_fileno(fd)] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """Forget ``fd``.

        Raises:
            KeyError: It was not registered.
        """
        self._native.unregister(fd)
        self._masks.pop(_fileno(fd), None)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Return pairs of fd and events, within ``timeout`` milliseconds; None or negative: for ever. May switch."""
        if timeout is not None:
            if not isinstance(timeout, (int, float)):
                raise TypeError("timeout must be an integer or None")
            if timeout > _MAX_MILLISECONDS:
                raise OverflowError("timeout is too large")
            timeout = None if timeout < 0 else timeout / 1000
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        hub = find_hub()
        self._polling = True
        try:
            if hub is None:
                blocking: list[tuple[int, int]] = self._native.poll(None if timeout is None else timeout * 1000)
                return blocking
            return _ask(hub, partial(self._native.poll, 0), bool, lambda: self._masks, timeout)
        finally:
            self._polling = False


class epoll:  # noqa: N801 - the name of select.epoll, for which it stands
    """``select.epoll``: the system's object, whose `poll` waits in the hub."""

    __slots__ = ("__weakref__", "_epoll", "_hub", "_source")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._epoll = _native.epoll(sizehint, flags)
        self._hub: Hub | None = None
        self._source: Source | None = None

    @classmethod
    def fromfd(cls, fd: int, /) -> epoll:
        """Return an object for an epoll fd that exists."""
        self = cls.__new__(cls)
        self._epoll = _native.epoll.fromfd(fd)
        self._hub = self._source = None
        return self

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return bool(self._epoll.closed)

    def fileno(self) -> int:
        """Return its fd."""
        fd: int = self._epoll.fileno()
        return fd

    def close(self) -> None:
        """Close it. Whoever waits gets an error. Idempotent."""
        if self._hub is not None and self._source is not None and not self._hub.closed:
            self._hub.close_source(self._source)
        self._hub = self._source = None
        self._epoll.close()

    def register(self, fd: Any, eventmask: int = _IN | _PRI | _OUT) -> None:
        """Ask for ``eventmask`` of ``fd``, an int or an object with ``fileno()``.

        Raises:
            OSError: EEXIST, EPERM, EBADF.
        """
        self._epoll.register(fd, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """Ask for something else of ``fd``."""
        self._epoll.modify(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        """Forget ``fd``."""
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Return pairs of fd and events, within ``timeout`` seconds; None or negative: for ever. May switch."""
        hub = find_hub()
        found: list[tuple[int, int]]
        if hub is None:
            found = self._epoll.poll(timeout, maxevents)
            return found
        if timeout is not None:
            if not isinstance(timeout, (int, float)):
                raise TypeError("timeout must be an integer or None")
            if timeout < 0:
                timeout = None
        deadline = _begin(hub, timeout)
        while True:
            found = self._epoll.poll(0, maxevents)
            if found or timeout == 0:
                return found
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return found
            wait_readable(self._here(hub), left)

    def _here(self, hub: Hub) -> Source:
        if self._hub is not hub or self._source is None or self._source.closed:
            if self.closed:
                raise ValueError("I/O operation on closed epoll object")
            self._source = hub.poller.source(self.fileno())
            self._hub = hub
        return self._source

    def __enter__(self) -> epoll:
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None:
        self.close()
