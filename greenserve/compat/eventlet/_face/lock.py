"""``eventlet.lock``: a lock, which is a semaphore with one permit."""

from __future__ import annotations

from greenserve.compat.eventlet._face.semaphore import Semaphore

__all__ = ["Lock"]


class Lock(Semaphore):
    """A lock that anybody may release."""

    def release(self, blocking: bool = True) -> bool:  # type: ignore[override]  # as its semaphore's
        """Let it go. Returns True.

        Raises:
            RuntimeError: It is not locked.
        """
        if self.counter > 0:
            raise RuntimeError("release unlocked lock")
        return super().release(blocking)

    def _at_fork_reinit(self) -> None:
        super()._at_fork_reinit()
        self.counter = 1
