"""``eventlet.green.profile``: the module profile, for programs whose green threads take turns while they are measured.

Facts about ``profile.Profile``: it follows one stack, in ``cur``, a chain of ``(times, ..., function, frame, chain)``;
the interpreter tells it of calls and returns in every greenlet of the OS thread. It takes a function that is called
while it runs for one that calls itself, and counts it less. What this means for us: each greenlet has a chain and
figures of its own, which are put in place when that greenlet is heard of, and added up in the end.
"""

from __future__ import annotations

import profile
import weakref
from types import FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from greenserve.compat.eventlet._face.patcher import slurp_properties

__patched__ = ["Profile", "run", "runctx"]

_OF_C = frozenset({"c_return", "c_exception"})

# Stands below the first call of a greenlet.
_BOTTOM = ("greenlet", 0, "run")

slurp_properties(profile, globals(), srckeys=profile.__all__)


class Profile(profile.Profile):
    """As ``profile.Profile``."""

    cur: Any
    dispatcher: Any
    timings: dict[Any, Any]

    def __init__(self, timer: Any = None, bias: Any = None) -> None:
        super().__init__(timer, bias)
        self._others: weakref.WeakKeyDictionary[greenlet, tuple[Any, dict[Any, Any]]] = weakref.WeakKeyDictionary()
        self._ended: dict[Any, Any] = {}
        self._running = getcurrent()
        self._follow = self.dispatcher
        self.dispatcher = self._dispatch

    def runctx(self, cmd: str, globals: dict[str, Any], locals: Any) -> Profile:
        """Measure a statement with these variables. May switch."""
        try:
            super().runctx(cmd, globals, locals)
        finally:
            self._sum_up()
        return self

    def runcall(self, func: Any, /, *args: Any, **kw: Any) -> Any:
        """Return ``func(*args, **kw)``, measured. May switch."""
        try:
            return super().runcall(func, *args, **kw)
        finally:
            self._sum_up()

    def _dispatch(self, frame: FrameType, event: str, arg: Any) -> None:
        current = getcurrent()
        if current is not self._running:
            self._others[self._running] = self.cur, self.timings
            known = self._others.pop(current, None)
            self.cur, self.timings = self._meet(frame, event, arg) if known is None else known
            self._running = current
        self._follow(frame, event, arg)
        if self.cur[-2] is None:  # back where `_meet` began
            _add(self.timings, self._ended)
            self.timings.clear()

    def _meet(self, frame: FrameType, event: str, arg: Any) -> tuple[Any, dict[Any, Any]]:
        """Chain and figures of a greenlet that is heard of for the first time: the calls it is in the middle of."""
        frames = []
        outer = frame.f_back if event == "call" else frame
        while outer is not None:
            frames.append(outer)
            outer = outer.f_back
        chain: Any = (0, 0, 0, _BOTTOM, None, None)
        figures: dict[Any, Any] = {_BOTTOM: (0, 0, 0, 0, {})}
        calls = [((each.f_code.co_filename, each.f_code.co_firstlineno, each.f_code.co_name), each) for each in frames]
        calls.reverse()
        if event in _OF_C:
            calls.append((("", 0, arg.__name__), frame))
        for function, each in calls:
            running = figures.get(function, (0, 0))[1]
            figures[function] = 0, running + 1, 0, 0, {}
            chain = 0, 0, 0, function, each, chain
        return chain, figures

    def _sum_up(self) -> None:
        for _, figures in self._others.values():
            _add(figures, self.timings)
        self._others.clear()
        _add(self._ended, self.timings)
        self._ended.clear()
        self.timings.pop(_BOTTOM, None)


def _add(figures: dict[Any, Any], total: dict[Any, Any]) -> None:
    """Add what each function has cost, and how often each has called it."""
    for function, (calls, running, own, all_in_all, callers) in figures.items():
        *sums, called_by = total.get(function, (0, 0, 0, 0, {}))
        for caller, count in callers.items():
            called_by[caller] = called_by.get(caller, 0) + count
        total[function] = sums[0] + calls, sums[1] + running, sums[2] + own, sums[3] + all_in_all, called_by


def run(statement: str, filename: str | None = None, sort: Any = -1) -> Any:
    """Measure ``statement`` in ``__main__``, and print what it cost, or put it into the file."""
    return profile._Utils(Profile).run(statement, filename, sort)  # type: ignore[attr-defined]  # what profile.run is


def runctx(statement: str, globals: Any, locals: Any, filename: str | None = None, sort: Any = -1) -> Any:
    """`run` with these variables."""
    return profile._Utils(Profile).runctx(  # type: ignore[attr-defined]  # as above
        statement, globals, locals, filename, sort
    )
