"""What differs in the module ``selectors``: what its classes wait by.

Only those classes that this system has; ``DevpollSelector`` and ``KqueueSelector`` are as in the standard library.
"""

from __future__ import annotations

import selectors
import sys

from greenserve.green.select import epoll, poll, select

__all__ = ["DefaultSelector", "PollSelector", "SelectSelector"]


class SelectSelector(selectors.SelectSelector):
    """``selectors.SelectSelector``, whose ``select`` waits in the hub."""

    _select = staticmethod(select)


class PollSelector(selectors.PollSelector):
    """``selectors.PollSelector``, whose ``select`` waits in the hub."""

    _selector_cls = poll


if sys.platform == "linux":

    class EpollSelector(selectors.EpollSelector):
        """``selectors.EpollSelector``, whose ``select`` waits in the hub."""

        _selector_cls = epoll

    DefaultSelector = EpollSelector
else:
    DefaultSelector = PollSelector
