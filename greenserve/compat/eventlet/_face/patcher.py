"""``eventlet.patcher``: patching by eventlet's keywords, and modules imported with others in the place of theirs.

What is written into the standard library, and where, is `greenserve.monkey`'s affair.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from greenserve import monkey

__all__ = [
    "already_patched",
    "import_patched",
    "inject",
    "is_monkey_patched",
    "monkey_patch",
    "original",
    "patch_function",
    "slurp_properties",
]

# eventlet's keywords: what `greenserve.monkey` patches for each.
_GROUPS = {
    "os": ("os",),
    "select": ("select",),
    "socket": ("socket", "ssl"),
    "thread": ("thread",),
    "time": ("time",),
    "subprocess": ("subprocess",),
    "psycopg": ("psycopg",),
    "builtins": ("builtins",),
}
_KEYWORDS = (*_GROUPS, "MySQLdb")
_ALL_GROUPS = {group for groups in _GROUPS.values() for group in groups} | {"signal"}
_BY_CHOICE = frozenset({"MySQLdb", "builtins"})

# The modules that stand in for others where a module is imported cooperative, by the keyword that brings them.
_STAND_INS = {
    "os": {"os": "os"},
    "select": {"select": "select", "selectors": "selectors"},
    "socket": {"socket": "socket", "ssl": "ssl"},
    "thread": {"queue": "Queue", "_thread": "thread", "threading": "threading"},
    "time": {"time": "time"},
}


class _Patched(dict[str, bool]):
    """eventlet's table of what is patched. A program that `greenserve.monkey` has patched is in it too."""

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        groups = _GROUPS.get(name) if isinstance(name, str) else None
        return groups is not None and monkey.is_patched(groups[0])


already_patched: dict[str, bool] = _Patched()


def monkey_patch(**on: bool) -> None:
    """Make the standard library cooperative: all of it; all but what is False; or, once anything is True, that alone.

    The keywords are os, select, socket (with ssl), thread (with threading and queue), time, subprocess and psycopg;
    builtins and MySQLdb only if they are named; and ``all``, which says what holds for those that are not.

    Raises:
        TypeError: There is no such keyword.
    """
    if "__builtin__" in on:
        assert "builtins" not in on
        on["builtins"] = on.pop("__builtin__")
    default = on.pop("all", None)
    for name in on:
        if name not in _KEYWORDS:
            raise TypeError(f"monkey_patch() got an unexpected keyword argument {name!r}")
    if default is None:
        default = True not in on.values()
    wanted = [name for name in _KEYWORDS if on.get(name, default and name not in _BY_CHOICE)]
    groups = [group for name in wanted for group in _GROUPS.get(name, ())]
    if default and not {"os", "select", "socket", "thread", "time"} - set(wanted):
        groups.append("signal")  # ours alone: a handler may block
    monkey.patch_all(**{group: group in groups for group in _ALL_GROUPS})
    for name in wanted:
        if name in _GROUPS:
            already_patched[name] = True
    if "thread" in wanted and hasattr(threading, "currentThread"):
        # Programs of eventlet's age say it so, and under eventlet nothing warns them.
        threading.currentThread = threading.current_thread
    if "MySQLdb" in wanted and "MySQLdb" not in already_patched:
        _patch_mysqldb()


def _patch_mysqldb() -> None:
    try:
        native, green = importlib.import_module("MySQLdb"), importlib.import_module(f"{__package__}.green.MySQLdb")
    except ImportError:
        return
    for name in green.__patched__:
        setattr(native, name, getattr(green, name))
    already_patched["MySQLdb"] = True


def is_monkey_patched(module: Any) -> bool:
    """Whether ``module``, one of the keywords or a module of such a name, is patched."""
    name = module if isinstance(module, str) else getattr(module, "__name__", None)
    return name in already_patched


def original(modname: str) -> ModuleType:
    """Return a copy of the module called ``modname`` as it is unpatched. The same each time."""
    return sys.modules.setdefault(f"__original_module_{modname}", monkey.original(modname))


# Importing with stand-ins -------------------------------------------------------------------------------------------


def stand_ins(keywords: Iterable[str]) -> list[tuple[str, ModuleType]]:
    """The cooperative modules that ``keywords`` bring, by the names that they take."""
    green = importlib.import_module(f"{__package__}.green")
    found = []
    for keyword in keywords:
        for name, ours in _STAND_INS[keyword].items():
            try:
                found.append((name, green.load(ours)))
            except ImportError:
                continue  # a Python that was built without ssl
    return found


def _green_os_modules() -> list[tuple[str, ModuleType]]:
    return stand_ins(["os"])


def _green_select_modules() -> list[tuple[str, ModuleType]]:
    return stand_ins(["select"])


def _green_socket_modules() -> list[tuple[str, ModuleType]]:
    return stand_ins(["socket"])


def _green_thread_modules() -> list[tuple[str, ModuleType]]:
    return stand_ins(["thread"])


def _green_time_modules() -> list[tuple[str, ModuleType]]:
    return stand_ins(["time"])


def inject(
    module_name: str, new_globals: dict[str, Any] | None, *additional_modules: tuple[str, ModuleType]
) -> ModuleType:
    """Import ``module_name`` anew, with ``additional_modules``, pairs of name and module, in the place of those names.

    Without any, the cooperative modules take their places. The module is returned, and its names are put into
    ``new_globals`` if given. ``sys.modules`` is as before then. The same module each time.
    """
    key = f"__patched_module_{module_name}"
    if key in sys.modules:
        return sys.modules[key]
    places = list(additional_modules) or stand_ins(_STAND_INS)
    with _standing_in(places, module_name):
        module = importlib.import_module(module_name)
    sys.modules[key] = module
    if new_globals is not None:
        for name in dir(module):
            if name not in {"__builtins__", "__file__", "__name__"}:
                new_globals[name] = getattr(module, name)
    return module


@contextmanager
def _standing_in(places: Iterable[tuple[str, ModuleType]], anew: str | None = None) -> Iterator[None]:
    """Have ``places`` in ``sys.modules``, and ``anew`` and all below it not, for a while."""
    gone = [name for name in sys.modules if anew is not None and (name == anew or name.startswith(f"{anew}."))]
    touched = dict.fromkeys([*(name for name, _ in places), *gone, *([anew] if anew else [])])
    before = {name: sys.modules.get(name) for name in touched}
    for name, module in places:
        sys.modules[name] = module
    for name in gone:
        sys.modules.pop(name, None)
    try:
        yield
    finally:
        if anew is not None:
            for name in [name for name in sys.modules if name.startswith(f"{anew}.") and name not in before]:
                del sys.modules[name]
        for name, old in before.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old
        for name, old in before.items():
            _put_into_parent(name, old)


def _put_into_parent(name: str, module: ModuleType | None) -> None:
    parent, _, child = name.rpartition(".")
    if parent in sys.modules and module is not None:
        setattr(sys.modules[parent], child, module)  # the import has put the new one there


def import_patched(
    module_name: str, *additional_modules: tuple[str, ModuleType], **kw_additional_modules: ModuleType
) -> ModuleType:
    """Import ``module_name`` anew so that it is cooperative. See `inject`."""
    return inject(module_name, None, *additional_modules, *kw_additional_modules.items())


def patch_function(func: Callable[..., Any], *additional_modules: tuple[str, ModuleType]) -> Callable[..., Any]:
    """Return ``func``, for whose call the cooperative modules stand in ``sys.modules``: for imports inside of it."""

    @functools.wraps(func)
    def patched(*args: Any, **kw: Any) -> Any:
        with _standing_in(list(additional_modules) or stand_ins(_STAND_INS)):
            return func(*args, **kw)

    return patched


def slurp_properties(
    source: ModuleType, destination: dict[str, Any], ignore: Sequence[str] = (), srckeys: Iterable[str] | None = None
) -> None:
    """Copy the names of ``source`` into ``destination``: those of its ``__all__``, or ``srckeys``; no dunder names."""
    names = source.__all__ if srckeys is None else srckeys
    destination.update(
        {name: getattr(source, name) for name in names if not name.startswith("__") and name not in ignore}
    )
