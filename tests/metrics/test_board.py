"""The board: what one process writes, others read, and nothing that was counted is ever lost."""

from __future__ import annotations

import os
import threading

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
