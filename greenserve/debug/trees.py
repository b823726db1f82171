"""Who runs, who is ready, who is parked on what, in all OS threads: as values, and as text for a person.

Looks, and changes nothing. Green threads are found through the garbage collector, so that nothing costs anything until
somebody asks. What another OS thread does goes on meanwhile.
"""

from __future__ import annotations

import enum
import os
import reprlib
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from select import POLLOUT
from types import FrameType
from typing import Any, NamedTuple, TextIO

from greenlet import getcurrent, greenlet

from greenserve._originals import get_ident, monotonic, os_write, poll_type, set_signal_handler
from greenserve.core.greenthreads import GreenThread
from greenserve.core.hub import Hub, all_hubs
from greenserve.core.report import all_greenlets
from greenserve.core.waiters import Waiter, WaitQueue, sleep
from greenserve.debug.stacks import Stack, StackReader, format_stack

__all__ = ["Branch", "OSThread", "State", "dump", "dump_on", "tree"]

# As `threading` knows its threads: asking it would take a lock, which whoever a signal handler interrupts may hold.
_threads: dict[int | None, threading.Thread] = threading._active  # type: ignore[attr-defined]  # for want of a public name

# Where the frames lie that stand between a parked green thread and whoever called something that waits.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_WAITING = tuple(os.path.join(_PACKAGE, part) for part in ("core" + os.sep, "sync" + os.sep, "net/threads.py"))

# A lock says who it is and how many wait for it. What somebody's subclass says may be long, or fail.
_repr = reprlib.Repr()
_repr.maxother = 200

_HUB = "the hub"

_SHOWN = 8  # fds, and locks, of green threads with the same stack
_WRITE_MILLISECONDS = 1000


class State(enum.Enum):
    """What a green thread does."""

    RUNNING = "running"
    READY = "ready"  # its turn comes in this round or the next
    READING = "reading"
    WRITING = "writing"
    SLEEPING = "asleep"
    WAITING = "waiting"  # for another green thread or OS thread: a lock, a queue, the end of a call
    POLLING = "polling"  # a hub with nothing to run


class Branch(NamedTuple):
    """One green thread, with those whose parent it is."""

    thread: greenlet
    name: str
    state: State
    fd: int | None  # which it reads or writes
    on: str  # what it waits for, such as "<Lock at 0x7f...: 0 free, 1 waiting>"; "" if that can't be told
    left: float | None  # seconds until a timer wakes it
    stack: Stack  # empty before it has begun
    children: list[Branch]


class OSThread(NamedTuple):
    """One OS thread, with its green threads."""

    number: int
    name: str
    stack: Stack  # of what runs there now
    main: Branch | None  # its main greenlet, from which all others descend; None where there is no hub


def tree() -> list[OSThread]:
    """Return all OS threads with all their green threads, as they are now.

    It holds on to them: let it go soon.
    """
    return _Moment(sys._getframe(1)).threads()


def dump(file: TextIO | None = None) -> None:
    """Write what all green threads do, with their stacks, to ``file``, by default stderr.

    Those that are parked in the same place are told of together. May switch, if the file does.
    """
    (sys.stderr if file is None else file).write(_describe(sys._getframe(1)))


def dump_on(signum: int, file: TextIO | None = None) -> None:
    """Have `dump` write to ``file``, by default stderr, whenever the process gets the signal ``signum``.

    In the midst of whatever runs, even if that never waits; but not while it is in a call to C. ``signal.signal`` takes
    it back.

    Raises:
        ValueError: This is not the main thread.
    """
    # Not the file's own methods: the signal may come while somebody is in the middle of one.
    fd = (sys.stderr if file is None else file).fileno()
    set_signal_handler(signal.Signals(signum), partial(_on_signal, fd))


def _on_signal(fd: int, signum: int, frame: FrameType | None) -> None:
    _write_all(fd, _describe(frame).encode(errors="backslashreplace"))


def _write_all(fd: int, data: bytes) -> None:
    """Write, and give up when nobody has read for a second: whoever waits here is in the middle of something else."""
    poll = poll_type()
    poll.register(fd, POLLOUT)
    while data and poll.poll(_WRITE_MILLISECONDS):
        data = data[os_write(fd, data) :]


# Gathering ----------------------------------------------------------------------------------------------------------


class _Wait:
    """What a hub knows of a green thread that it will wake."""

    __slots__ = ("deadline", "fd", "state")

    def __init__(self) -> None:
        self.state: State | None = None
        self.fd: int | None = None
        self.deadline: float | None = None


def _thread_of(fire: Callable[..., Any] | None) -> Any:
    """The green thread that a handle starts or resumes. None for any other callback."""
    if isinstance(fire, partial):
        fire = fire.func
    return getattr(fire, "__self__", None)


def _waits_of(hub: Hub) -> defaultdict[object, _Wait]:
    waits: defaultdict[object, _Wait] = defaultdict(_Wait)
    for deadline, _, handle in hub.timers.heap[:]:
        waits[_thread_of(handle.fire)].deadline = deadline
    for source in list(hub.poller.sources.values()):
        for state, queue in ((State.READING, source.readers), (State.WRITING, source.writers)):
            for handle in queue[:]:
                wait = waits[_thread_of(handle.fire)]
                wait.state, wait.fd = state, source.fd
    for handle in list(hub.ready):
        waits[_thread_of(handle.fire)].state = State.READY
    waits.pop(None, None)
    return waits


class _Moment:
    """What there is now.

    Args:
        frame: Where the caller stands.
    """

    def __init__(self, frame: FrameType | None) -> None:
        self._now = monotonic()
        self._stacks = StackReader()
        self._descriptions: dict[int, tuple[object, str]] = {}
        self._current = getcurrent()
        self._frames: dict[int, FrameType | None] = {**sys._current_frames(), get_ident(): frame}
        self._children: defaultdict[greenlet, list[greenlet]] = defaultdict(list)
        for found in all_greenlets():
            if not found.dead and found.parent is not None:
                self._children[found.parent].append(found)
        self._hubs = {hub.thread_id: hub for hub in all_hubs()}
        self._hub_greenlets = {hub.greenlet for hub in self._hubs.values()}

    def threads(self) -> list[OSThread]:
        return [
            OSThread(number, _name_of(number, ""), self._stacks.read(frame), self._main(number))
            for number, frame in self._frames.items()
        ]

    def _main(self, number: int) -> Branch | None:
        hub = self._hubs.get(number)
        return None if hub is None else self._branch(hub.main, hub, _waits_of(hub))

    def _describe(self, awaited: object) -> str:
        # Once for all who wait for it: a queue of 10,000 may have much to say.
        if id(awaited) not in self._descriptions:
            self._descriptions[id(awaited)] = awaited, "" if awaited is None else _repr.repr(awaited)
        return self._descriptions[id(awaited)][1]

    def _branch(self, thread: greenlet, hub: Hub, waits: defaultdict[object, _Wait]) -> Branch:
        # In another OS thread it is the one that is neither parked nor yet to begin.
        frame = thread.gr_frame
        is_running = thread is self._current or (bool(thread) and frame is None)
        stack = self._stacks.read(self._frames.get(hub.thread_id) if is_running else frame)
        wait = waits[thread]
        state = wait.state
        on = ""
        if is_running:
            state = State.POLLING if thread is hub.greenlet and hub.is_polling else State.RUNNING
        elif state is None:
            state = State.SLEEPING if frame is None or frame.f_code is sleep.__code__ else State.WAITING
            if state is State.WAITING and thread is not hub.greenlet:
                on = self._describe(_awaited(frame, thread))
        left = None if wait.deadline is None else wait.deadline - self._now
        children = [
            self._branch(child, hub, waits) for child in self._children[thread] if not self._is_left_behind(child)
        ]
        return Branch(thread, _name(thread, hub, stack), state, wait.fd, on, left, stack, children)

    def _is_left_behind(self, thread: greenlet) -> bool:
        """Whether it is a hub that a fork has left in the parent, and that is here as a memory only."""
        frame = thread.gr_frame
        if thread in self._hub_greenlets:
            return False
        while frame is not None and frame.f_back is not None:
            frame = frame.f_back
        return frame is not None and frame.f_code is Hub._run.__code__


def _awaited(frame: FrameType | None, thread: greenlet) -> object:
    """What ``thread`` waits for: the outermost of the objects whose methods it waits in. None: that can't be told."""
    found = None
    while frame is not None and frame.f_code.co_filename.startswith(_WAITING):
        # Of our own frames alone: looking at locals keeps them alive until the frame ends, up to Python 3.12.
        holder = frame.f_locals.get("self")
        if holder is not None and holder is not thread and not isinstance(holder, (Waiter, WaitQueue)):
            found = holder
        frame = frame.f_back
    return found


def _name(thread: greenlet, hub: Hub, stack: Stack) -> str:
    """What a person may know it by: the name of a thread, or else the function that it runs."""
    if thread is hub.greenlet:
        return _HUB
    if thread is hub.main:
        return "the main greenlet"
    # One that another OS thread has only begun to make has no call yet.
    call = getattr(thread, "_call", None) if isinstance(thread, GreenThread) else None
    own = stack[0].function if stack else getattr(call and call.func, "__qualname__", type(thread).__name__)
    return _name_of(id(thread), own)


def _name_of(number: int, default: str) -> str:
    thread = _threads.get(number)
    return default if thread is None else thread.name


# As text ------------------------------------------------------------------------------------------------------------


def _describe(frame: FrameType | None) -> str:
    lines = [f"The green threads of process {os.getpid()}:"]
    for thread in _Moment(frame).threads():
        lines += ["", f"OS thread {thread.number} {thread.name}".rstrip()]
        lines += _lines_of([thread.main], "  ") if thread.main is not None else format_stack(thread.stack, "  ")
    return "\n".join(lines) + "\n"


def _lines_of(branches: list[Branch], indent: str) -> Iterator[str]:
    """Yield what there is to say of ``branches``, of those together that do the same."""
    alike: defaultdict[object, list[Branch]] = defaultdict(list)
    for branch in branches:
        key = branch.thread if branch.children else (branch.name, branch.state, branch.stack)
        alike[key].append(branch)
    for group in alike.values():
        first = group[0]
        count = f"{len(group):,} x " if len(group) > 1 else ""
        yield f"{indent}{count}{first.name}: {_describe_state(group)}"
        if first.name != _HUB or first.state is State.RUNNING:  # else it says the same each time
            yield from format_stack(first.stack, indent + "    ")
        yield from _lines_of(first.children, indent + "  ")


def _describe_state(group: list[Branch]) -> str:
    text = group[0].state.value
    fds = [str(branch.fd) for branch in group if branch.fd is not None]
    left = [branch.left for branch in group if branch.left is not None]
    text += _list(" fd ", fds) + _list(" for ", list(dict.fromkeys(branch.on for branch in group if branch.on)))
    if left:
        text += f", for {min(left):.3g} s more" + (f" to {max(left):.3g} s more" if len(left) > 1 else "")
    return text


def _list(before: str, items: list[str]) -> str:
    if not items:
        return ""
    more = f" and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return before + ", ".join(items[:_SHOWN]) + more
