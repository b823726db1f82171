"""Lines to one file, written by a native thread of their own: who logs never waits for a disk or a pipe.

Knows files and native threads; nothing of ``logging``, of formats or of green threads.

Facts this rests on:

- A write to a full pipe, a stopped terminal or a hung network disk blocks its OS thread for as long as it likes.
- Two OS threads of CPython that take turns every few microseconds slow each other down: to hand the interpreter's lock
  over costs more than to write a line does.

What this means for us: the queue is bounded, and what does not fit is dropped and counted. The thread rests after each
batch, for the longer the more lines it had, so that a busy server wakes it ten times a second and not once for each
line; a line after a pause is written at once. It leaves when nothing was logged for a while: who forks has one thread
less to leave behind.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from greenserve._originals import allocate_lock, monotonic, os_close, os_write, poll_type, select, start_new_thread
from greenserve._words import counted

__all__ = ["MAX_QUEUED_BYTES", "LogWriter", "duplicate", "open_for_appending"]

MAX_QUEUED_BYTES = 8 << 20

# Between two batches, for each line of the first, and at most: how old a line can get before it is in the file.
_REST_SECONDS = 0.001
_LONGEST_REST = 0.1

# The thread leaves after so long without a line.
_IDLE_SECONDS = 5.0

# A file that takes nothing is tried again after this time: a full disk may have room by then.
_RETRY_SECONDS = 0.5

# How often somebody is told of lines that were dropped, at most.
_REPORT_SECONDS = 10.0

# How much goes into one system call. A pipe takes as much.
_BATCH_BYTES = 65536

_FOR_EVER = -1.0


class LogWriter:
    """Writes bytes to a file, in order, in a native thread that starts with the first of them.

    May be used from any OS thread, from green threads and from signal handlers. Only `flush` and `close` ever wait.
    After a fork the child begins with an empty queue: what was in it is the parent's to write.

    Attributes:
        dropped: Lines that were dropped so far, since there was no room for them.
    """

    def __init__(
        self,
        open_file: Callable[[], int],
        *,
        on_trouble: Callable[[str], object] | None = None,
        max_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        """Open the file.

        Args:
            open_file: Opens it and returns the fd, which is ours from then on. Called again by `reopen`.
            on_trouble: Gets a sentence when lines can't be written, or the file not opened. In any thread: it may not
                wait.
            max_bytes: How much may wait in the queue.

        Raises:
            OSError: The file can't be opened.
        """
        self.dropped = 0
        self._open_file = open_file
        self._on_trouble = on_trouble
        self._max_bytes = max_bytes
        self._fd = open_file()
        self._reported = 0  # how many of the dropped lines somebody was told of
        self._report_at = 0.0
        self._failure: OSError | None = None  # why the file takes nothing
        self._is_told = False  # somebody knows that it takes nothing
        self._told_until = 0.0  # for so long it is not told again, whatever becomes of it
        self._begin()
        _writers.add(self)

    def _begin(self) -> None:
        """Start with nothing, and without a thread: at first, and in a forked child."""
        self._queue: deque[Any] = deque()  # lines, and locks to release when all before them are written
        # The bytes in it, nearly: a lock would cost as much as the line, and a bound need not be exact.
        self._size = 0
        self._to_start: list[None] = [None]  # who takes the one element out starts the thread
        self._parked: list[None] = []  # the thread puts one in before it waits; who takes it out wakes the thread
        self._resting: list[None] = []  # likewise, between two batches: not for a mere line
        self._wake = allocate_lock()
        self._wake.acquire()
        self._urgent = False  # somebody waits for the thread
        self._to_reopen = False
        self._closing = False

    # From anywhere --------------------------------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """Have ``line`` written, or drop it when there is no room. Never waits."""
        if self._size >= self._max_bytes or self._closing:
            self.dropped += 1
            if not (self._is_told or self._closing):
                # Here, since the thread may be stuck in a write to a pipe that nobody reads.
                self._warn(
                    "the log takes lines more slowly than they come: those without room are dropped, and counted"
                )
            return
        self._size += len(line)
        self._queue.append(line)  # atomic: deque.append
        if self._parked or self._to_start:
            self._rouse(self._parked)

    def reopen(self) -> None:
        """Open the file anew, in the thread, before it writes on: a rotation may have moved the old one away."""
        if not self._closing:
            self._to_reopen = True
            self._hasten()

    def flush(self, timeout: float) -> bool:
        """Wait until all that is in the queue now is written. Blocks the OS thread.

        Returns:
            Whether it is, after ``timeout`` seconds at most.
        """
        done = allocate_lock()
        done.acquire()
        self._queue.append(done)  # atomic: deque.append
        self._hasten()
        return done.acquire(True, timeout)

    def close(self, timeout: float) -> bool:
        """As `flush`, and drop all that comes later. The file is closed, unless the thread is stuck with it."""
        self._closing = True
        _writers.discard(self)  # a forked child, too, has no file to write to
        is_done = self.flush(timeout)
        if is_done and self._fd >= 0:
            fd, self._fd = self._fd, -1
            os_close(fd)
        return is_done

    def _hasten(self) -> None:
        self._urgent = True
        self._rouse(self._parked)
        self._rouse(self._resting)

    def _rouse(self, waiting: list[None]) -> None:
        try:
            waiting.pop()  # atomic: list.pop. One wakes it for each time that it waits
        except IndexError:
            self._start()
        else:
            self._wake.release()

    def _start(self) -> None:
        try:
            self._to_start.pop()  # atomic: list.pop
        except IndexError:
            return
        try:
            start_new_thread(self._run, ())
        except RuntimeError:
            # The process is at its end, or at the limit of its threads. Better late than never.
            self._urgent = False
            self._write_all()
            self._to_start.append(None)

    # In the native thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._urgent = False
            count = self._write_all()
            self._sleep(self._resting, min(_LONGEST_REST, count * _REST_SECONDS))
            if not self._has_work() and not self._sleep(self._parked, _IDLE_SECONDS) and not self._has_work():
                self._to_start.append(None)
                # Somebody may have looked before this, and left it to us.
                if not self._has_work():
                    return
                try:
                    self._to_start.pop()
                except IndexError:
                    return  # another thread was started for it

    def _has_work(self) -> bool:
        return bool(self._queue) or self._urgent

    def _sleep(self, waiting: list[None], seconds: float) -> bool:
        """Wait to be woken. False: ``seconds`` were over first, or there was something to do at once."""
        waiting.append(None)
        # Looked at after saying so: who came before that did not see that we wait.
        if not (self._urgent or (waiting is self._parked and self._queue)) and self._wake.acquire(True, seconds):
            return True
        try:
            waiting.pop()
        except IndexError:
            self._wake.acquire()  # who took it out is about to release it
            return True
        return False

    def _write_all(self) -> int:
        """Write what is in the queue, however long that takes, and return how many lines there were."""
        queue = self._queue
        count = 0
        while queue or self._to_reopen:
            if self._to_reopen:
                self._open_again()
            batch: list[bytes] = []
            size = 0
            done = None
            while queue and size < _BATCH_BYTES and done is None:
                item = queue.popleft()  # atomic: deque.popleft
                if isinstance(item, bytes):
                    batch.append(item)
                    size += len(item)
                else:
                    done = item
            count += len(batch)
            is_written = not batch or self._write_batch(b"".join(batch))
            if not is_written:
                self.dropped += len(batch)
            self._size = max(0, self._size - size) if queue else 0
            if done is not None:
                done.release()
            if is_written and (self._is_told or self.dropped != self._reported):
                self._report()
        return count

    def _write_batch(self, data: bytes) -> bool:
        """Write ``data``, as often as it takes. False: the file took it not before the end."""
        view = memoryview(data)
        while view:
            try:
                view = view[os_write(self._fd, view) :]
            except BlockingIOError:
                # A pipe or a terminal that somebody has made non-blocking.
                poll = poll_type()
                poll.register(self._fd, select.POLLOUT)
                poll.poll(_RETRY_SECONDS * 1000)
            except OSError as exc:
                self._failure = exc
                if self._closing:
                    return False
                if not self._is_told:
                    self._warn(f"can't write the log, and tries again until it can: {exc.strerror}")
                self._sleep(self._resting, _RETRY_SECONDS)
                self._urgent = False
                if self._to_reopen:
                    self._open_again()
        return True

    def _open_again(self) -> None:
        self._to_reopen = False
        try:
            fd = self._open_file()
        except OSError as exc:
            self._tell(f"can't open the log again, and goes on with the old file: {exc}")
            return
        old, self._fd = self._fd, fd
        os_close(old)

    def _warn(self, sentence: str) -> None:
        self._is_told = True
        self._told_until = monotonic() + _REPORT_SECONDS
        self._tell(sentence)

    def _report(self) -> None:
        """Say how many lines were dropped, now that the file takes some again."""
        now = monotonic()
        if now >= self._told_until:
            self._is_told = False
        if self.dropped != self._reported and now >= self._report_at:
            self._report_at = now + _REPORT_SECONDS
            count, self._reported = self.dropped - self._reported, self.dropped
            failure, self._failure = self._failure, None
            why = f"it could not be written: {failure}" if failure else "it was written more slowly than lines came"
            self._tell(f"dropped {counted(count, 'line')} of the log, since {why}")

    def _tell(self, sentence: str) -> None:
        if self._on_trouble is not None:
            self._on_trouble(sentence)


def open_for_appending(path: str) -> int:
    """Return an fd that appends to the file at ``path``. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def duplicate(fd: int) -> int:
    """Return another fd for the same file, which is ours to close. Raises OSError."""
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return os.dup(fd)


# Those whose thread a fork does not take along.
_writers: weakref.WeakSet[LogWriter] = weakref.WeakSet()


def _begin_in_child() -> None:
    for writer in list(_writers):
        writer._begin()


os.register_at_fork(after_in_child=_begin_in_child)
