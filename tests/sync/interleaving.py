"""Every place at which one call can come into the middle of another, tried one after the other.

A call is traced bytecode by bytecode. Before the n-th one in the package, and for every n, it is stopped, and the other
call is made: in the same thread, as a signal handler or a finalizer would, or in another OS thread, as the scheduler
would. Stress tests find such places by luck; here none is left out.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import greenserve
from greenserve.core.waiters import NativeWaiter
from tests.sync.threads import OSThread, frequent_thread_switches, spin_until

T = TypeVar("T")

_PACKAGE = greenserve.__file__.removesuffix("__init__.py")


class Scenario(NamedTuple):
    """Two calls on something that was made new for them."""

    call: Callable[[], Any]
    interruption: Callable[[], Any]
    check: Callable[[Any], None]  # gets what the call returned, once both are over


class Interruption:
    """Makes one call in the middle of another, before its n-th bytecode, if it has as many."""

    def __init__(self, step: int, interruption: Callable[[], Any]) -> None:
        self._left = step
        self._interruption = interruption
        self._due = [True]

    def claim(self) -> bool:
        """Whether the interruption has not happened. The caller sees to it then."""
        try:
            return self._due.pop()
        except IndexError:
            return False

    def run(self, call: Callable[[], T]) -> T:
        before = sys.gettrace()
        # Python 3.12 traces bytecodes only if some frame asked for it before the tracing began.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        try:
            return call()
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not self._due or not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left < 0 and self.claim():
                self._interruption()
        return self._trace


class Rival(OSThread[T]):
    """A native thread whose call is on its way to the end, or parked, when the constructor returns."""

    def __init__(self, function: Callable[[], T]) -> None:
        super().__init__(function)
        self.go_on()

    def go_on(self) -> None:
        """Wait until it has ended or is parked."""
        spin_until(lambda: self.ended or self.parked)

    @property
    def parked(self) -> bool:
        """Whether it waits."""
        return is_parked(self.ident)


def is_parked(ident: int) -> bool:
    """Whether a native thread is inside the operating system's wait: nothing of Python runs there any more."""
    frame = sys._current_frames().get(ident)
    return frame is not None and frame.f_code is NativeWaiter.park.__code__


def try_each_step(make: Callable[[], Scenario]) -> None:
    """Interrupt a call that does not block for long, in this thread. The last time, the other call comes after it."""
    _try_each_step(make, lambda interruption, call: interruption.run(call))


def try_each_step_natively(make: Callable[[], Scenario]) -> None:
    """As `try_each_step`, in a native thread."""
    _try_each_step(make, lambda interruption, call: OSThread(lambda: interruption.run(call)).wait())


def try_each_step_of_a_wait(make: Callable[[], Scenario]) -> None:
    """Interrupt a call that blocks until the other call ends its wait, in a native thread, up to where it parks."""
    _try_each_step(make, lambda interruption, call: Rival(lambda: interruption.run(call)))


@frequent_thread_switches()
def _try_each_step(make: Callable[[], Scenario], run: Callable[[Interruption, Callable[[], Any]], Any]) -> None:
    for step in itertools.count():
        scenario = make()
        interruption = Interruption(step, scenario.interruption)
        result = run(interruption, scenario.call)
        is_last = interruption.claim()
        if is_last:
            scenario.interruption()
        scenario.check(result.wait() if isinstance(result, Rival) else result)
        if is_last:
            break
    assert step > 5, "the call was not traced"
