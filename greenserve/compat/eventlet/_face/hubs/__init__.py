"""``eventlet.hubs``: the hub of this OS thread, and `trampoline`, which waits for an fd."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType
from typing import Any

from greenlet import getcurrent

from greenserve.compat.eventlet._face import timeout as _timeout
from greenserve.compat.eventlet._face.hubs import epolls, hub, kqueue, poll, selects, timer
from greenserve.compat.eventlet._face.hubs.hub import IOClosed, get_hub
from greenserve.core.hub import has_hub
from greenserve.core.hub import use_hub as use_core_hub
from greenserve.errors import HubError as CoreHubError

__all__ = [
    "HubError",
    "IOClosed",
    "get_default_hub",
    "get_hub",
    "hub",
    "notify_close",
    "notify_opened",
    "timer",
    "trampoline",
    "use_hub",
]

# What eventlet reads to choose a hub.
_VARIABLE = "EVENTLET_HUB"

builtin_hub_modules = (epolls, kqueue, poll, selects)
builtin_hub_names = tuple(module.__name__.rpartition(".")[2] for module in builtin_hub_modules)

# What eventlet keeps for each OS thread: ``hub`` and ``Hub``.
_threadlocal = hub.here


class HubError(Exception):
    """No hub of eventlet's names can run here."""


def get_default_hub() -> ModuleType:
    """The module of the best hub that this system can have."""
    for module in builtin_hub_modules:
        if module.is_available():
            return module
    raise HubError(f"no built-in hubs are available: {builtin_hub_modules}")


def use_hub(mod: Any = None) -> None:
    """Wait by ``mod``: one of the names "epolls", "kqueue", "poll" and "selects", such a module, or a class of a hub.

    There is one hub, and these say which of the system's calls it waits by. Any other class has to be a subclass of
    ``eventlet.hubs.hub.BaseHub``; its own ``wait`` is not asked.

    Raises:
        RuntimeError: ``mod`` is blank.
        ImportError: There is no such hub.
        HubError: The system does not have it.
    """
    if mod is None:
        mod = os.environ.get(_VARIABLE) or get_default_hub()
    module = _resolve(mod)
    if not isinstance(module, type) and not hasattr(module, "is_available"):
        warnings.warn(f"{module!r} has no is_available()", DeprecationWarning, stacklevel=2)
    elif hasattr(module, "is_available") and not module.is_available():
        raise HubError(f"this system does not have the hub {mod!r}")
    made = module if isinstance(module, type) else getattr(module, _class_name(mod))
    selector = getattr(made, "selector", None)
    if selector is not None:
        try:
            use_core_hub(selector)
        except CoreHubError as exc:
            # Whoever began to wait goes on waiting where it is: eventlet would never have resumed it.
            warnings.warn(f"use_hub({mod!r}): {exc}", RuntimeWarning, stacklevel=2)
    hub.here.hub = None
    hub.here.Hub = made


def _resolve(mod: Any) -> Any:
    if not isinstance(mod, str):
        return mod
    if not mod.strip():
        raise RuntimeError("Need to specify a hub")
    if "." in mod or ":" in mod:
        return importlib.import_module(mod.strip().partition(":")[0])
    return importlib.import_module(f"{__name__}.{mod}")


def _class_name(mod: Any) -> str:
    return (mod.strip().partition(":")[2] if isinstance(mod, str) else "") or "Hub"


def trampoline(
    fd: Any,
    read: bool | None = None,
    write: bool | None = None,
    timeout: float | None = None,
    timeout_exc: Any = _timeout.Timeout,
    mark_as_closed: Any = None,
) -> Any:
    """Wait until ``fd``, a number or an object with ``fileno()``, can be read or written. May switch.

    Raises:
        timeout_exc: It took longer than ``timeout`` seconds.
        IOClosed: The fd was closed meanwhile.
        RuntimeError: Called by the hub itself, for both directions, or for what somebody else waits for already.
    """
    current = getcurrent()
    here = get_hub()
    if here.greenlet is current:
        raise RuntimeError("do not call blocking functions from the mainloop")
    if read and write:
        raise RuntimeError("not allowed to trampoline for reading and writing")
    fileno = fd.fileno() if hasattr(fd, "fileno") else fd
    deadline = None
    listener = None
    try:
        if timeout is not None:
            deadline = here.schedule_call_global(timeout, current.throw, timeout_exc)
        if read or write:
            listener = here.add(hub.READ if read else hub.WRITE, fileno, current.switch, current.throw, mark_as_closed)
        return here.switch()
    finally:
        if listener is not None:
            here.remove(listener)
        if deadline is not None:
            deadline.cancel()


def notify_close(fd: int) -> None:
    """Say that ``fd`` is about to be closed."""
    get_hub().notify_close(fd)


def notify_opened(fd: int) -> None:
    """Say that the system has given out the number ``fd``: whoever waits on an older file of it is told."""
    get_hub().mark_as_reopened(fd)


def _choose_by_environment() -> None:
    name = os.environ.get(_VARIABLE)
    if name and not has_hub():
        use_hub(name)


_choose_by_environment()
