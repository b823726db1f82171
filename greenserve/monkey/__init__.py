"""The patch: ordinary blocking code becomes cooperative. The only writer into modules that are not ours.

``patch_all()`` first thing in a program, or ``python -m greenserve.monkey SCRIPT``. What is written where is a table,
`greenserve.monkey._table`; nothing is deleted from a module, and classes that others derive from or catch stay what
they are. Patching twice, or in another order, makes no difference.

Whoever has taken a name out of a module before the patch keeps what it was. The standard library's own modules are put
right; everybody else's are told of in a `PatchWarning`, by name, since it is their code that has to be imported later.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import threading
import warnings
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from greenserve.green import _thread as green_thread
from greenserve.green import signal as green_signal
from greenserve.monkey import _psycopg
from greenserve.monkey._copies import Copies
from greenserve.monkey._finder import AdaptingFinder
from greenserve.monkey._late import find_late, is_stdlib_source
from greenserve.monkey._names import MISSING, is_held, is_native_lock, read, write
from greenserve.monkey._table import BY_CHOICE, GROUPS, LOCKS, ROWS, Row

__all__ = [
    "PatchWarning",
    "import_patched",
    "is_patched",
    "original",
    "patch_all",
    "patch_builtins",
    "patch_os",
    "patch_psycopg",
    "patch_select",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_thread",
    "patch_time",
]

_MAX_REPORTED = 20


class PatchWarning(RuntimeWarning):
    """The patch came too late for something. The message says which module and attribute, and what to do."""


class _Written:
    """What the patch has written so far, and what was there."""

    __slots__ = ("groups", "originals")

    def __init__(self) -> None:
        self.groups: set[str] = set()
        self.originals: dict[Row, Any] = {}  # MISSING: this system does not have it


_written = _Written()


def patch_all(**which: bool) -> None:
    """Make the standard library cooperative, all of it or ``which`` parts.

    Args:
        which: ``socket=False`` leaves that part as it is. The parts are os, psycopg (see `patch_psycopg`), select,
            signal, socket, ssl, subprocess, thread and time, and by choice builtins (``open`` on pipes and terminals).

    Raises:
        TypeError: There is no such part.
    """
    unknown = sorted(which.keys() - set(GROUPS))
    if unknown:
        raise TypeError(f"patch_all({unknown[0]}=...): the parts are {', '.join(GROUPS)}")
    _patch([group for group in GROUPS if which.get(group, group not in BY_CHOICE)])


def patch_builtins() -> None:
    """``open``: pipes, terminals and FIFOs wait in the hub. Not a part of what `patch_all` does by itself."""
    _patch(["builtins"])


def patch_os() -> None:
    """``os``: reading and writing pipes, and waiting for processes."""
    _patch(["os"])


def patch_psycopg() -> None:
    """psycopg 2 and 3: queries wait in the hub. Imports neither: it holds for those loaded already, or ever.

    psycopg 2 by itself refuses COPY and large objects then.
    """
    _patch(["psycopg"])


def patch_select() -> None:
    """``select`` and ``selectors``."""
    _patch(["select"])


def patch_signal() -> None:
    """``signal``: handlers may block."""
    _patch(["signal"])


def patch_socket() -> None:
    """``socket``, with the names that it looks up."""
    _patch(["socket"])


def patch_ssl() -> None:
    """``ssl``: contexts make green sockets, those that exist already too."""
    _patch(["ssl"])


def patch_subprocess() -> None:
    """``subprocess``: pipes and timeouts. It needs ``os``, ``select`` and ``thread`` as well to be cooperative."""
    _patch(["subprocess"])


def patch_thread() -> None:
    """``_thread``, ``threading``, ``queue``, and the standard library's own locks."""
    _patch(["thread"])


def patch_time() -> None:
    """``time.sleep``."""
    _patch(["time"])


def is_patched(name: str) -> bool:
    """Whether a part (as `patch_all` takes it) or a module (such as ``"threading"``) is patched."""
    return name in _written.groups or any(row.module == name and row.group in _written.groups for row in ROWS)


def original(name: str) -> ModuleType:
    """Return a copy of the module called ``name`` as it is unpatched: ``original("threading").Thread`` is native.

    The same copy each time. What it uses of other modules is original as well.

    Raises:
        ImportError: There is no such module.
    """
    return _unpatched.get(name)


def import_patched(name: str) -> ModuleType:
    """Return a copy of the module called ``name`` that is cooperative, whatever the rest of the process is.

    The same copy each time. What it imports and the patch is about is cooperative as well; other modules that it
    imports are as they are.

    Raises:
        ImportError: There is no such module.
    """
    return _patched.get(name)


# How ----------------------------------------------------------------------------------------------------------------


def _patch(groups: Iterable[str]) -> None:
    fresh = [group for group in groups if group not in _written.groups]
    if not fresh:
        return
    if not _written.groups:
        sys.meta_path.insert(0, AdaptingFinder({row.module: _write_loaded for row in ROWS}))
    _written.groups.update(fresh)
    replaced: dict[int, tuple[Any, str, Any]] = {}
    for row in ROWS:
        if row.group not in fresh or (row.module not in sys.modules and "." in row.module):
            continue  # _write_loaded() will, when it is
        value = _write(row)
        if value is MISSING or value is row.green or not _is_telling(row, value):
            continue
        if value is builtins.open and row.module != "builtins":
            continue  # whoever holds it may have it from there, where it stays
        # One object may have many names: who reads knows a public one.
        if id(value) not in replaced or not row.name.startswith("_"):
            replaced[id(value)] = (value, f"{row.module}.{row.name}", row.green)
    _put_right(replaced)
    late = find_late({ident: (value, name) for ident, (value, name, green) in replaced.items()})
    if "thread" in fresh:
        late = _replace_locks() + late
        _adopt_main_thread()
        late += _find_native_threads()
    if "signal" in fresh:
        green_signal.adopt()
    if "psycopg" in fresh:
        _psycopg.install()
    if late:
        _warn(late)


def _write(row: Row) -> Any:
    """Write a row, and return what was there."""
    module = importlib.import_module(row.module)
    value = _written.originals[row] = read(module, row.name)
    if value is not MISSING:
        write(module, row.name, row.green)
    return value


def _write_loaded(module: ModuleType) -> None:
    """Write the rows of a module that was loaded just now: later than the patch, once more, or anew."""
    for row in ROWS:
        if row.module == module.__name__ and row.group in _written.groups:
            value = read(module, row.name)
            if value is not MISSING and value != row.green:
                _written.originals.setdefault(row, value)
                write(module, row.name, row.green)


def _is_telling(row: Row, value: Any) -> bool:
    """Whether an object that is found elsewhere is that of the row, and nothing else."""
    return "." not in row.name and callable(value)


def _put_right(replaced: dict[int, tuple[Any, str, Any]]) -> None:
    """Give the standard library's own modules what they would have if they were imported now."""
    for name, module in list(sys.modules.items()):
        if is_stdlib_source(name, module):
            for attribute, value in list(vars(module).items()):
                entry = replaced.get(id(value))
                if entry is not None and entry[0] is value:
                    setattr(module, attribute, entry[2])


def _replace_locks() -> list[str]:
    """Replace the locks that the standard library has made, and return a line for each that somebody holds."""
    held = []
    for lock in LOCKS:
        module = sys.modules.get(lock.module)
        value = MISSING if module is None else read(module, lock.name)
        if module is None or value is MISSING:
            continue
        if is_native_lock(value) and is_held(value):
            held.append(f"{lock.module}.{lock.name} is held while it should be replaced")
            continue
        write(module, lock.name, lock.make())
    return held + _replace_handler_locks()


def _replace_handler_locks() -> list[str]:
    """Do the same for the handlers of ``logging``, which are objects of the program."""
    logging = sys.modules.get("logging")
    held = []
    for reference in getattr(logging, "_handlerList", ()):
        handler = reference()
        lock = getattr(handler, "lock", None)
        if not is_native_lock(lock):
            continue
        if is_held(lock):
            held.append(f"the lock of {handler!r} is held while it should be replaced")
        else:
            handler.lock = green_thread.RLock()
    return held


def _adopt_main_thread() -> None:
    """Let the end of the main thread be waited for by green threads."""
    main: Any = threading.main_thread()
    if hasattr(main, "_handle"):  # since Python 3.13
        main._handle = green_thread.make_thread_handle(main.ident)
    elif main._tstate_lock is not None:
        native, main._tstate_lock = main._tstate_lock, green_thread.Sentinel()
        main._tstate_lock.acquire()
        # The locks of those whose end the interpreter waits for.
        locks = threading._shutdown_locks  # type: ignore[attr-defined]  # for want of a public name
        locks.discard(native)
        locks.add(main._tstate_lock)


def _find_native_threads() -> list[str]:
    return [
        f"{thread!r} is a native thread: whoever joins it stops the whole OS thread"
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not isinstance(thread, threading._DummyThread)
    ]


def _warn(late: list[str]) -> None:
    shown = late[:_MAX_REPORTED]
    if len(late) > len(shown):
        shown.append(f"and {len(late) - len(shown)} more")
    # Whoever called patch_all() or patch_x(): three calls up.
    warnings.warn(
        "the patch comes too late for these:\n  "
        + "\n  ".join(shown)
        + "\nPatch before they are imported: begin the program with "
        "`from greenserve import monkey; monkey.patch_all()`, or run it by `python -m greenserve.monkey SCRIPT`.",
        PatchWarning,
        stacklevel=4,
    )


# Copies -------------------------------------------------------------------------------------------------------------


def _original_of(row: Row) -> Any:
    return _written.originals.get(row, MISSING)


def _find_original(value: Any) -> Any:
    if not callable(value):
        return MISSING
    for row, before in _written.originals.items():
        if row.green is value and _is_telling(row, before):
            return before
    return MISSING


def _green_of(row: Row) -> Any:
    return MISSING if read(importlib.import_module(row.module), row.name) is MISSING else row.green


def _find_green(value: Any) -> Any:
    if not callable(value):
        return MISSING
    for row in ROWS:
        if row.green is not value and _is_telling(row, value) and value is _before(row):
            return row.green
    return MISSING


def _before(row: Row) -> Any:
    """What a row's name is without the patch."""
    if row in _written.originals:
        return _written.originals[row]
    return read(importlib.import_module(row.module), row.name)


_unpatched = Copies(_original_of, _find_original)
_patched = Copies(_green_of, _find_green)
