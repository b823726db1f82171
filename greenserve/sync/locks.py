"""Mutual exclusion between green threads and between OS threads, with the interface of ``threading``'s locks.

Knows the wait queue; no hub. An owner is a greenlet: an OS thread without green threads has exactly one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from types import TracebackType

from greenlet import getcurrent, greenlet

from greenserve._originals import monotonic, time_sleep
from greenserve._typing import TypeVar
from greenserve.core.waiters import NativeWaiter, Waiter, WaitQueue, new_waiter, sleep
from greenserve.errors import HubError
from greenserve.sync.semaphores import Semaphore, check_timeout

__all__ = ["Condition", "Lock", "RLock"]

T = TypeVar("T")


class Lock(Semaphore):
    """A lock that anybody may release, first come first served. The interface of ``threading.Lock``."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0)
        self._free.append(None)

    def release(self) -> None:
        """Let the one go on who has waited longest, or leave the lock free. From anywhere, and never blocks.

        Raises:
            RuntimeError: It is not locked.
        """
        if self._free:
            raise RuntimeError("release unlocked lock")
        # As Semaphore.release, written out: the call would double the cost.
        queue = self._queue
        if not queue or not queue.wake():
            self._free.append(None)  # atomic: list.append
            if queue:
                self._hand_over()

    # What a condition, ours or threading's, asks of its lock.

    def _is_owned(self) -> bool:
        return not self._free

    def _release_save(self) -> int:
        self.release()
        return 1

    def _acquire_restore(self, count: int) -> None:
        self.acquire()

    def _at_fork_reinit(self) -> None:
        """In a forked child: free, and nobody waits, since those who did stayed in the parent."""
        self._unused = repeat(None, 0)
        self._free[:] = [None]
        self._queue.clear()


class _Hold:
    """Who holds an `RLock`, and how many times over. Only the owner changes it."""

    __slots__ = ("count", "owner")

    def __init__(self, owner: greenlet) -> None:
        self.owner = owner
        self.count = 1


class _Claim(_Hold):
    """What somebody who waits will hold, and who waits for the lock inside of that wait: its own finalizers."""

    __slots__ = ("inside",)

    def __init__(self, owner: greenlet) -> None:
        super().__init__(owner)
        self.inside: list[Waiter | NativeWaiter] = []


_KEY = "hold"


class RLock:
    """A lock that its owner may acquire again, first come first served. The interface of ``threading.RLock``.

    A finalizer that runs in the middle of `acquire` or `release`, in the same green thread, may acquire and release the
    same lock, as one that logs does: ownership and count come and go together, in one step.
    """

    __slots__ = ("__weakref__", "_claims", "_holder", "_queue")

    def __init__(self) -> None:
        # Empty, or the hold under _KEY. A dict, since its setdefault is Python's one atomic compare-and-set.
        self._holder: dict[str, _Hold] = {}
        self._queue = WaitQueue()
        self._claims: dict[Waiter | NativeWaiter, _Claim] = {}  # of those in the queue

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take the lock, or take it once more. False when that is not possible within ``timeout`` seconds. May switch.

        Raises:
            ValueError: ``timeout`` is negative but not -1, or was given although ``blocking`` is false.
        """
        if timeout is not None:
            timeout = check_timeout(blocking, timeout)
        current = getcurrent()
        fresh = _Hold(current)
        hold = self._holder.setdefault(_KEY, fresh)  # atomic: dict.setdefault with a str key
        if hold is fresh:
            return True
        if hold.owner is current:
            hold.count += 1
            return True
        if not blocking or (timeout is not None and timeout <= 0):
            return False
        return self._wait(_Claim(current), timeout)

    def _wait(self, claim: _Claim, timeout: float | None) -> bool:
        waiter = new_waiter()
        # We may be a finalizer that interrupts its own green thread's wait for this lock: what that gets is ours too.
        outer = [other for other in list(self._claims.values()) if other.owner is claim.owner]
        for other in outer:
            other.inside.append(waiter)
        self._claims[waiter] = claim
        try:
            self._queue.append(waiter)  # atomic: deque.append
            self._hand_over()
            if not self._is_owned():
                waiter.park(timeout)
            return self._stop_waiting(waiter, claim) or (self._is_owned() and self.acquire())
        except BaseException:
            if self._stop_waiting(waiter, claim):
                self.release()
            raise
        finally:
            del self._claims[waiter]
            for other in outer:
                other.inside.remove(waiter)

    def _stop_waiting(self, waiter: Waiter | NativeWaiter, claim: _Claim) -> bool:
        """Leave the queue. True when the lock has been handed over instead."""
        if self._holder.get(_KEY) is not claim:
            if self._queue.leave(waiter):
                return False
            # Who has taken us out is one step away from letting go: another OS thread, or a green thread of this one
            # that a signal handler holds up there.
            while self._holder.get(_KEY) is not claim:
                time_sleep(0)
                if isinstance(waiter, Waiter):
                    sleep(0)
        waiter.fire = None
        return True

    def release(self) -> None:
        """Undo one `acquire`. The last one lets the lock go, to the one who has waited longest. Never blocks.

        Raises:
            RuntimeError: The caller does not hold it.
        """
        hold = self._holder.get(_KEY)
        if hold is None or hold.owner is not getcurrent():
            raise RuntimeError("release of a lock that the caller does not hold")
        if hold.count > 1:
            hold.count -= 1
            return
        queue = self._queue
        while queue:
            try:
                waiter = queue.popleft()  # atomic: deque.popleft
            except IndexError:
                break
            claim = self._claims[waiter]
            # Wake first: until the one step that follows, we are the owner for whatever interrupts us here.
            if waiter.notify():
                self._holder[_KEY] = claim  # atomic: a dict store
                for other in claim.inside:
                    other.notify()
                return
        del self._holder[_KEY]  # atomic: a dict delete
        if queue:
            self._hand_over()

    def _hand_over(self) -> None:
        """If the lock is free, give it to the first in the queue."""
        if self.acquire(blocking=False):
            self.release()

    def locked(self) -> bool:
        """Whether anybody holds it."""
        return _KEY in self._holder

    __enter__ = acquire

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        hold = self._holder.get(_KEY)
        state = f"held {hold.count} times by {hold.owner!r}" if hold is not None else "free"
        return f"<{type(self).__name__} at {id(self):#x}: {state}, {len(self._queue)} waiting>"

    # What a condition, ours or threading's, asks of its lock.

    def _is_owned(self) -> bool:
        hold = self._holder.get(_KEY)
        return hold is not None and hold.owner is getcurrent()

    def _release_save(self) -> int:
        hold = self._holder[_KEY]
        count, hold.count = hold.count, 1
        self.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self.acquire()
        self._holder[_KEY].count = count

    def _at_fork_reinit(self) -> None:
        """In a forked child: free, and nobody waits, since those who did stayed in the parent."""
        self._holder.clear()
        self._queue.clear()
        self._claims.clear()


class Condition:
    """Wait, with a lock let go meanwhile, until somebody notifies. The interface of ``threading.Condition``.

    Args:
        lock: What guards the state that is waited for; a new `RLock` if not given.
    """

    __slots__ = ("__weakref__", "_lock", "_queue")

    def __init__(self, lock: Lock | RLock | None = None) -> None:
        self._lock = lock if lock is not None else RLock()
        self._queue = WaitQueue()

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock. May switch."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let the lock go, wait for a `notify`, and take the lock again. May switch.

        False when ``timeout`` seconds went by first. The lock is held again in every case: an exception that is thrown
        in comes out only then.

        Raises:
            RuntimeError: The lock is not held.
        """
        self._check_owned("wait")
        waiter = self._queue.enter()
        count = self._lock._release_save()
        try:
            return self._queue.finish(waiter, timeout)
        finally:
            self._acquire_again(count)

    def _acquire_again(self, count: int) -> None:
        interrupt: BaseException | None = None
        while True:
            try:
                self._lock._acquire_restore(count)
            except HubError:
                raise  # a deadlock: the lock can't be had any more
            except BaseException as exc:  # noqa: BLE001 - raised below, once the lock is held as the caller expects
                interrupt = exc
            else:
                break
        if interrupt is not None:
            raise interrupt

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until ``predicate()`` is true, and return its last value, also when ``timeout`` seconds went by first.

        May switch. It is called with the lock held.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while not (value := predicate()):
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return value

    def notify(self, n: int = 1) -> None:
        """Wake up to ``n`` of those who wait, the longest first. They go on once they have the lock.

        Raises:
            RuntimeError: The lock is not held.
        """
        self._check_owned("notify")
        for _ in range(n):
            if not self._queue.wake():
                break

    def notify_all(self) -> None:
        """Wake all who wait. As `notify`."""
        self._check_owned("notify")
        self._queue.wake_all()

    def _check_owned(self, what: str) -> None:
        if not self._lock._is_owned():
            raise RuntimeError(f"{what}() without the lock: with condition: condition.{what}()")

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x}: {self._lock!r}, {len(self._queue)} waiting>"
