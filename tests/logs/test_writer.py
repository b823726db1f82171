"""The writer of a log: in order, never in anybody's way, with what it drops counted."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from greenserve.logs.writer import LogWriter, duplicate, open_for_appending

PATIENCE = 10.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes 4096 bytes: its reading and its writing end."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield read, write
    os.close(read)
    os.close(write)


def to_file(path: Path, **keywords: object) -> LogWriter:
    return LogWriter(partial(open_for_appending, str(path)), **keywords)  # type: ignore[arg-type]  # the test's own


def read_until(fd: int, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        assert select.select([fd], [], [], PATIENCE)[0], f"nothing more after {data[-50:]!r}"
        data += os.read(fd, 65536)
    return data


def test_lines_are_in_the_file_in_their_order_after_a_flush(tmp_path: Path) -> None:
    writer = to_file(tmp_path / "log")
    lines = [b"%d\n" % number for number in range(5000)]
    for line in lines:
        writer.write(line)
    assert writer.flush(PATIENCE)
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
    assert writer.close(PATIENCE)


def test_a_line_is_written_without_anybody_asking(pipe: tuple[int, int]) -> None:
    writer = LogWriter(partial(duplicate, pipe[1]))
    writer.write(b"one\n")
    assert read_until(pipe[0], b"one\n") == b"one\n"
    writer.write(b"two\n")
    assert read_until(pipe[0], b"two\n") == b"two\n"
    assert writer.close(PATIENCE)


def test_a_full_pipe_keeps_nobody_waiting_and_what_has_no_room_is_counted_and_told(pipe: tuple[int, int]) -> None:
    told: list[str] = []
    was_counted = threading.Event()

    def tell(sentence: str) -> None:
        told.append(sentence)
        if sentence.startswith("dropped"):
            was_counted.set()

    writer = LogWriter(partial(duplicate, pipe[1]), max_bytes=10_000, on_trouble=tell)
    line = b"x" * 99 + b"\n"
    for _ in range(1000):
        writer.write(line)  # would hang here, and the test with it
    # The queue has 100 lines, and the pipe 40; a line or two may be on their way from one to the other.
    kept = 1000 - writer.dropped
    assert 100 <= kept <= 150
    # At once, though nobody reads the pipe yet: perhaps nobody ever will.
    full = "the log takes lines more slowly than they come: those without room are dropped, and counted"
    assert told == [full]
    received: list[int] = []

    def read() -> None:
        while sum(received) < kept * len(line):
            received.append(len(os.read(pipe[0], 65536)))

    reader = threading.Thread(target=read)
    reader.start()
    assert writer.flush(PATIENCE)
    reader.join(PATIENCE)
    assert sum(received) == kept * len(line)
    assert was_counted.wait(PATIENCE)
    assert told[1:] == [f"dropped {writer.dropped} lines of the log, since it was written more slowly than lines came"]
    assert writer.close(PATIENCE)


def test_a_flush_that_can_not_end_gives_up(pipe: tuple[int, int]) -> None:
    writer = LogWriter(partial(duplicate, pipe[1]))
    writer.write(b"x" * 10_000)
    assert not writer.flush(0.05)
    assert not writer.close(0.05)
    assert len(read_until(pipe[0], b"x" * 5904)) <= 10_000


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LogWriter(partial(duplicate, pipe[1]))
    writer.write(b"x" * 9_999 + b"\n")
    assert len(read_until(pipe[0], b"\n")) == 10_000
    assert writer.close(PATIENCE)


def test_a_disk_that_was_full_gets_its_lines_once_it_has_room(tmp_path: Path) -> None:
    # /dev/full answers every write with ENOSPC. A reopening leads to a file that takes them.
    paths = iter(["/dev/full", str(tmp_path / "log")])
    told: list[str] = []
    writer = LogWriter(lambda: open_for_appending(next(paths)), on_trouble=told.append)
    writer.write(b"one\n")
    assert not writer.flush(0.05)
    writer.reopen()
    assert writer.flush(PATIENCE)
    assert (tmp_path / "log").read_bytes() == b"one\n"
    assert writer.dropped == 0
    assert told == ["can't write the log, and tries again until it can: No space left on device"]
    assert writer.close(PATIENCE)


def test_the_end_does_not_wait_for_a_full_disk() -> None:
    writer = LogWriter(partial(open_for_appending, "/dev/full"))
    writer.write(b"one\n")
    assert writer.close(PATIENCE)
    assert writer.dropped == 1


def test_reopening_goes_on_in_a_new_file_of_the_same_name(tmp_path: Path) -> None:
    writer = to_file(tmp_path / "log")
    writer.write(b"one\n")
    assert writer.flush(PATIENCE)
    (tmp_path / "log").rename(tmp_path / "old")
    writer.reopen()
    writer.write(b"two\n")
    assert writer.flush(PATIENCE)
    assert (tmp_path / "old").read_bytes() == b"one\n"
    assert (tmp_path / "log").read_bytes() == b"two\n"
    assert writer.close(PATIENCE)


def test_a_file_that_can_not_be_opened_again_is_told_and_the_old_one_goes_on(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    told: list[str] = []
    writer = to_file(tmp_path / "logs" / "log", on_trouble=told.append)
    (tmp_path / "logs").rename(tmp_path / "moved")
    writer.reopen()
    writer.write(b"one\n")
    assert writer.flush(PATIENCE)
    assert (tmp_path / "moved" / "log").read_bytes() == b"one\n"
    assert len(told) == 1
    assert "can't open the log again" in told[0]
    assert writer.close(PATIENCE)


def test_lines_of_several_threads_all_arrive_and_each_threads_in_order(tmp_path: Path) -> None:
    writer = to_file(tmp_path / "log")

    def write(name: str) -> None:
        for number in range(2000):
            writer.write(f"{name} {number}\n".encode())

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(PATIENCE)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 8000
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name} {number}" for number in range(2000)]
    assert writer.close(PATIENCE)


def test_what_comes_after_the_end_is_dropped_and_counted(tmp_path: Path) -> None:
    writer = to_file(tmp_path / "log")
    assert writer.close(PATIENCE)
    writer.write(b"one\n")
    writer.reopen()
    assert writer.dropped == 1
    assert (tmp_path / "log").read_bytes() == b""


FORK = """
import os, sys
from functools import partial
from greenserve.logs.writer import LogWriter, open_for_appending

writer = LogWriter(partial(open_for_appending, sys.argv[1]))
writer.write(b"parent before\\n")  # perhaps still in the queue
child = os.fork()
writer.write(b"child\\n" if child == 0 else b"parent\\n")
assert writer.flush(10)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_writes_its_own_lines_and_none_of_the_parents(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "log")], check=True, timeout=30)
    lines = (tmp_path / "log").read_text().splitlines()
    assert sorted(lines) == ["child", "parent", "parent before"]


CLOSED = """
import os, sys
from functools import partial
from greenserve.logs.writer import LogWriter, open_for_appending

writer = LogWriter(partial(open_for_appending, sys.argv[1]))
assert writer.close(10)
child = os.fork()
if child == 0:
    writer.write(b"child\\n")
    os._exit(writer.dropped)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
"""


def test_what_was_closed_before_a_fork_is_closed_in_the_child(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CLOSED, str(tmp_path / "log")], check=True, timeout=30)
    assert (tmp_path / "log").read_text() == ""
