"""The settings about what a server tells of itself when something is wrong with it, and about lookups of names."""

from __future__ import annotations

from greenserve._kinds import Duration, Flag, OrOff
from greenserve._setting import Setting
from greenserve._typing import Any

__all__ = ["DEBUG_SETTINGS"]

_DEBUGGING = "Debugging"


class _Milliseconds(Duration):
    """Seconds, as a float. A number without a unit is one of milliseconds."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.allowed = "milliseconds, or a time such as 100ms or 2s"

    def parse(self, text: str) -> float:
        return super().check(self.count(f"{text}ms" if text[-1:].isdigit() else text))

    def check(self, value: object) -> float:
        return super().check(value) / 1000

    def show(self, value: float) -> str:
        return f"{value * 1000:g}ms"

    def literal(self, value: Any) -> str:
        return repr(self.show(value))


DEBUG_SETTINGS = (
    Setting(
        "block_warn",
        OrOff(_Milliseconds()),
        None,
        "Log a warning, with the stack, when a green thread runs for longer than this without waiting for anything, "
        "since it keeps all others of its process from running. In milliseconds, unless it has a unit.",
        group=_DEBUGGING,
    ),
    Setting(
        "dump_on_usr2",
        Flag(),
        False,
        "Write what every green thread does, with its stack, to stderr when a process that serves gets the signal "
        "USR2. To a master with workers that signal means something else: send it to a worker.",
        group=_DEBUGGING,
    ),
    Setting(
        "cache_names",
        OrOff(Duration()),
        None,
        "How long the addresses of a name that the application looks up are used again.",
        group=_DEBUGGING,
    ),
)
