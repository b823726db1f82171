"""The board: what one process writes, others read, and nothing that was counted is ever lost."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from greenserve.metrics.board import COUNTERS, GAUGES, Board, Figures, Slot, State


def claim(board: Board) -> Slot:
    slot = board.claim()
    assert slot is not None
    return slot


def figures(number: float) -> Figures:
    made = Figures()
    made.gauges = dict.fromkeys(GAUGES, number) | {"state": float(State.READY)}
    made.counters = dict.fromkeys(COUNTERS, number)
    made.by_status = [number] * len(made.by_status)
    made.buckets = [number] * len(made.buckets)
    made.report = {"number": number}
    return made


def test_what_is_written_is_read() -> None:
    board = Board(slots=2)
    slot = claim(board)
    written = figures(7.0)
    slot.write(written)
    read = board.read()[slot.index]
    assert read.gauges == written.gauges
    assert read.counters == written.counters
    assert read.by_status == written.by_status
    assert read.buckets == written.buckets
    assert read.report == {"number": 7.0}
    assert read.state is State.READY


def test_a_slot_that_nobody_had_is_not_read() -> None:
    board = Board(slots=3)
    assert board.read() == {}
    slot = claim(board)
    assert list(board.read()) == [slot.index]
    assert board.read()[slot.index].state is State.STARTING


def test_each_worker_gets_a_slot_of_its_own_until_there_is_none() -> None:
    board = Board(slots=2)
    first, second = claim(board), claim(board)
    assert first.index != second.index
    assert board.claim() is None
    board.release(first)
    assert claim(board).index == first.index


def test_counters_outlive_a_worker_and_gauges_do_not() -> None:
    board = Board(slots=1)
    slot = claim(board)
    slot.write(figures(7.0))
    board.release(slot)
    after = board.read()[0]
    assert after.state is State.FREE
    assert after.counters == dict.fromkeys(COUNTERS, 7.0)
    assert after.buckets[0] == after.by_status[200] == 7.0
    assert after.gauges["rss"] == 0.0
    assert after.report == {}
    assert claim(board).read().counters["requests"] == 7.0


def test_a_forked_worker_and_its_parent_see_the_same_board() -> None:
    board = Board(slots=1)
    slot = claim(board)
    child = os.fork()
    if child == 0:
        slot.write(figures(3.0))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.read()[0].counters["requests"] == 3.0


def test_a_reader_never_sees_half_of_what_was_written() -> None:
    board = Board(slots=1)
    slot = claim(board)
    slot.write(figures(0.0))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            slot.write(figures(float(number)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            read = board.read()[0]
            if read.report:  # without one the writer was too fast for the reader
                number = read.report["number"]
                assert set(read.buckets) == set(read.by_status) == set(read.counters.values()) == {number}
    finally:
        stop.set()
        writer.join()


def test_a_worker_that_was_killed_in_the_middle_of_writing_leaves_a_slot_to_read_and_to_go_on_with() -> None:
    board = Board(slots=1)
    slot = claim(board)
    slot.write(figures(3.0))
    slot._numbers[0] += 1  # as it is while somebody writes
    assert board.read()[0].counters["requests"] == 3.0
    assert board.read()[0].report == {}
    board.release(slot)
    slot.write(figures(4.0))
    assert board.read()[0].report == {"number": 4.0}


def test_a_report_that_is_too_long_is_left_out() -> None:
    board = Board(slots=2)
    slot = claim(board)
    long = figures(1.0)
    long.report = {"text": "x" * 100_000}
    slot.write(long)
    assert board.read()[0].report == {}
    assert board.read()[0].counters["requests"] == 1.0


def test_another_process_takes_a_board_over_by_its_file_and_goes_on_with_it() -> None:
    board = Board(slots=2)
    slot = claim(board)
    slot.write(figures(7.0))
    board.note_end("died")
    other = Board.adopt(os.dup(board.fd))
    assert other is not None
    assert other.read()[slot.index].counters["requests"] == 7.0
    theirs = claim(other)
    assert theirs.index != slot.index
    theirs.write(figures(2.0))
    other.note_end("died")
    other.note_end("max_requests")
    assert board.read()[theirs.index].counters["requests"] == 2.0
    assert board.ended() == {"died": 2, "max_requests": 1}


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\0" * 100_000], ids=["empty", "other figures", "zeros"])
def test_a_file_that_is_no_board_or_one_with_other_figures_is_not_taken_over(content: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        assert Board.adopt(os.dup(file.fileno())) is None


def test_an_fd_that_is_not_open_is_no_board() -> None:
    fd = os.dup(0)
    os.close(fd)
    assert Board.adopt(fd) is None


def test_ends_beyond_what_there_is_room_for_are_left_out() -> None:
    board = Board(slots=1)
    board.note_end("died")
    board.note_end("x" * 10_000)
    assert board.ended() == {"died": 1}


def test_ends_are_counted_anew_behind_a_master_that_was_killed_while_it_wrote_them() -> None:
    board = Board(slots=1)
    board.note_end("died")
    board._ended_length[0] -= 1
    assert board.ended() == {}
    board.note_end("max_requests")
    assert board.ended() == {"max_requests": 1}


def test_ends_that_several_masters_note_at_once_are_all_counted() -> None:
    board = Board(slots=1)
    masters = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            for _ in range(200):
                board.note_end("died")
            os._exit(0)
        masters.append(pid)
    for pid in masters:
        os.waitpid(pid, 0)
    assert board.ended() == {"died": 600}


def in_child(board: Board) -> int:
    """Return a process that has a slot, and lives until it is killed."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        claim(board)
        os.write(theirs, b"1")
        signal.pause()
        os._exit(0)
    os.close(theirs)
    assert os.read(ours, 1) == b"1"
    os.close(ours)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_master_frees_the_slots_of_its_own_workers_that_are_gone_and_leaves_the_others() -> None:
    board = Board(slots=2)
    stays, goes = in_child(board), in_child(board)
    try:
        end(goes)
        board.release_all_but({stays})
        assert sorted(int(read.gauges["pid"]) for read in board.read().values()) == [0, stays]
    finally:
        end(stays)


def test_a_worker_of_another_master_keeps_its_slot_until_it_is_gone() -> None:
    board = Board(slots=1)
    worker = in_child(board)
    (read,) = board.read().values()
    read.gauges["master"] = 1.0
    Slot(board._memory, 0).write(read)
    board.release_all_but(set())
    assert int(board.read()[0].gauges["pid"]) == worker
    end(worker)
    board.release_all_but(set())
    assert board.read()[0].state is State.FREE


def test_a_slot_that_another_master_has_freed_first_is_not_taken_from_its_new_worker() -> None:
    class Contended(Board):
        @contextmanager
        def _locked(self) -> Iterator[None]:
            """As when others had the lock until now."""
            other.release(slot)
            assert claim(other).index == slot.index
            with super()._locked():
                yield

    other = Board(slots=1)
    slot = claim(other)
    made = slot.read()
    made.gauges |= {"pid": 0x3FFFFFFF, "master": 1.0}  # of which there is none
    slot.write(made)
    board = Contended.adopt(os.dup(other.fd))
    assert board is not None
    board.release_all_but({os.getpid()})
    assert int(slot.read().gauges["pid"]) == os.getpid()
