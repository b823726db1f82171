"""Pipes: reading and writing that waits in the hub, and what stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import greenserve
from greenserve.errors import ClosedWhileWaiting
from greenserve.green import io
from greenserve.green import os as green_os
from greenserve.testing import wait_until_parked

WAIT = 0.02


def test_both_ends_of_a_pipe_can_be_used_in_one_os_thread() -> None:
    read_end, write_end = os.pipe()
    data = bytes(range(256)) * 4096  # many times what a pipe holds
    with io.open(read_end, "rb") as reader, io.open(write_end, "wb") as writer:
        greenserve.spawn(lambda: (writer.write(data), writer.close()))
        assert reader.read() == data


def test_text_lines_are_read_as_they_come() -> None:
    read_end, write_end = os.pipe()
    with io.open(read_end, encoding="utf-8") as reader, io.open(write_end, "w", 1, encoding="utf-8") as writer:
        greenserve.spawn_after(WAIT, writer.write, "grüße\n")
        assert reader.readline() == "grüße\n"
        assert (reader.mode, writer.mode, reader.encoding) == ("r", "w", "utf-8")


def test_os_calls_move_everything_between_green_threads() -> None:
    read_end, write_end = os.pipe()
    try:
        writing = greenserve.spawn(green_os.write, write_end, b"x" * 200_000)
        received = 0
        while received < 200_000:
            received += len(green_os.read(read_end, 65536))
        assert writing.wait() == 200_000
        greenserve.spawn_after(WAIT, green_os.writev, write_end, [b"ab", b"c"])
        first, second = bytearray(2), bytearray(2)
        assert (green_os.readv(read_end, [first, second]), first, second) == (3, b"ab", b"c\0")
    finally:
        os.close(read_end)
        os.close(write_end)


def test_an_fd_that_the_program_made_non_blocking_does_not_wait() -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    try:
        with pytest.raises(BlockingIOError):
            green_os.read(read_end, 1)
        with io.open(read_end, "rb", 0, closefd=False) as reader:
            assert reader.read(1) is None
    finally:
        os.close(read_end)
        os.close(write_end)


def test_closing_a_file_wakes_who_reads_it() -> None:
    read_end, write_end = os.pipe()
    reader = io.open(read_end, "rb", 0)
    reading = greenserve.spawn(reader.read, 1)
    wait_until_parked()
    reader.close()
    with pytest.raises(ClosedWhileWaiting):
        reading.wait()
    os.close(write_end)


def test_a_regular_file_is_the_standard_librarys(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with io.open(path, "w", encoding="utf-8") as file:
        file.write("text")
    with io.open(path, "rb", 0) as file:
        assert not isinstance(file, io.PipeIO)
        assert file.read() == b"text"


def test_a_fifo_is_opened_while_others_run(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    def read() -> bytes:
        with io.open(path, "rb") as reader:
            content: bytes = reader.read()
            return content

    reading = greenserve.spawn(read)
    with io.open(path, "wb") as writer:
        writer.write(b"through it")
    assert reading.wait() == b"through it"


@pytest.mark.parametrize(
    ("mode", "options", "error"),
    [
        ("r", {"buffering": 0}, ValueError),
        ("rw", {}, ValueError),
        ("rb", {"encoding": "utf-8"}, ValueError),
    ],
)
def test_what_open_refuses_is_refused(mode: str, options: dict[str, object], error: type[Exception]) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    with pytest.raises(error):
        io.open(read_end, mode, closefd=False, **options)
    os.close(read_end)


def test_processes_are_waited_for_without_a_signal() -> None:
    pids = [os.posix_spawnp("sleep", ["sleep", str(WAIT)], os.environ) for _ in range(3)]
    waiting = [greenserve.spawn(green_os.waitpid, pid, 0) for pid in pids]
    assert [thread.wait() for thread in waiting] == [(pid, 0) for pid in pids]
    with pytest.raises(ChildProcessError):
        green_os.waitpid(pids[0], 0)
    pid = os.posix_spawnp("sleep", ["sleep", str(WAIT)], os.environ)
    assert green_os.wait() == (pid, 0)
