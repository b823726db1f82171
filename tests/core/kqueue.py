"""A stand-in for `selectors.KqueueSelector`, for systems without kqueue: importing this puts it into `selectors`.

It keeps to what kqueue and the standard library's class do, where that differs from epoll:

- the kernel forgets an fd when it is closed, whatever copies there are, and the selector's own table does not;
- reading and writing are two filters, reported one by one;
- taking out an fd that the kernel has forgotten is no error, registering a closed one is EBADF;
- a child of fork does not inherit it.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
from collections.abc import Mapping
from typing import Any


class FakeKqueueSelector(selectors.BaseSelector):
    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._files: dict[int, tuple[int, int]] = {}  # what the kernel knows: fd and the file behind it
        self._process = os.getpid()
        self._closed = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if fileobj in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        self._check()
        self._files[fileobj] = _file(fileobj)  # raises EBADF
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        self._files.pop(fileobj, None)
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._check()
        kernel = select.poll()
        for fd, file in list(self._files.items()):
            try:
                is_the_same = _file(fd) == file
            except OSError:
                is_the_same = False
            key = self._keys.get(fd)
            if is_the_same and key is not None:
                kernel.register(fd, _mask(key.events))
            else:
                self._files.pop(fd, None)
        found = []
        for fd, mask in kernel.poll(None if timeout is None else max(0, int(timeout * 1000 + 0.999))):
            key = self._keys.get(fd)
            if key is None:
                continue  # another OS thread took it out
            if key.events & selectors.EVENT_READ and mask & ~select.POLLOUT:
                found.append((key, selectors.EVENT_READ))
            if key.events & selectors.EVENT_WRITE and mask & ~select.POLLIN:
                found.append((key, selectors.EVENT_WRITE))
        return found

    def close(self) -> None:
        self._closed = True
        self._keys.clear()
        self._files.clear()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def _check(self) -> None:
        if self._closed or self._process != os.getpid():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _file(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _mask(events: int) -> int:
    return (select.POLLIN if events & selectors.EVENT_READ else 0) | (
        select.POLLOUT if events & selectors.EVENT_WRITE else 0
    )


if not hasattr(selectors, "KqueueSelector"):
    selectors.KqueueSelector = FakeKqueueSelector  # type: ignore[attr-defined]
