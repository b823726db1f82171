from __future__ import annotations

import os
import sys
import threading

from greenserve.core import Hub, sleep, spawn
from greenserve.core.report import describe_parked, describe_place, parked_greenlets
from greenserve.core.waiters import WaitQueue
from greenserve.sync import Semaphore
from tests.sync.threads import OSThread, until


def wait_for_the_end() -> None:
    QUEUE.wait()


QUEUE = WaitQueue()


def test_each_parked_greenlet_is_described_by_its_innermost_line_that_is_not_the_cores(hub: Hub) -> None:
    thread = spawn(wait_for_the_end)
    sleep(0)
    lines = [line for line in describe_parked(hub.greenlet).splitlines() if "wait_for_the_end" in line]
    line = wait_for_the_end.__code__.co_firstlineno + 1
    assert lines == [f"  {thread!r} waits at {__file__}:{line} in wait_for_the_end"]
    QUEUE.wake()
    thread.wait()
    assert "wait_for_the_end" not in describe_parked(hub.greenlet)


def test_who_waits_inside_of_a_lock_or_a_queue_is_described_by_the_line_that_called_it_too(hub: Hub) -> None:
    def eat() -> None:
        fork.acquire()

    fork = Semaphore(0)
    thread = spawn(eat)
    sleep(0)
    (line,) = [line for line in describe_parked(hub.greenlet).splitlines() if repr(thread) in line]
    place, caller = line.split(" waits at ")[1].split(", called at ")
    assert os.path.basename(place).startswith("semaphores.py:")
    assert caller == f"{__file__}:{eat.__code__.co_firstlineno + 1} in eat"
    fork.release()
    thread.wait()


def test_those_that_have_not_started_or_have_ended_are_not_parked(hub: Hub) -> None:
    ended = spawn(int)
    sleep(0)
    unstarted = spawn(int)
    assert not {ended, unstarted} & set(parked_greenlets(hub.greenlet))
    unstarted.wait()


def test_those_of_other_os_threads_are_not_listed(hub: Hub) -> None:
    parked, go_on = threading.Event(), threading.Event()

    def work() -> None:
        thread = spawn(wait_for_the_end)
        sleep(0)
        parked.set()
        go_on.wait()
        thread.kill()

    host = OSThread(work)
    until(parked.is_set)
    assert "wait_for_the_end" not in describe_parked(hub.greenlet)
    go_on.set()
    host.wait()


def test_a_place_is_a_file_a_line_and_a_function() -> None:
    frame = sys._getframe()
    assert describe_place(frame) == f"{__file__}:{frame.f_lineno} in {frame.f_code.co_name}"
    assert describe_place(None) == "an unknown place"
