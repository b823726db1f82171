from __future__ import annotations

import errno
import itertools
import linecache
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from types import FrameType
from typing import Any

import pytest
from greenlet import getcurrent

import greenserve.core
from greenserve.core import GreenletExit, Hub, Timeout, get_hub, sleep, spawn
from greenserve.core.timers import Handle
from greenserve.core.waiters import NativeWaiter, Waiter, WaitQueue, new_waiter, wait_readable, wait_writable
from greenserve.errors import HubError
from greenserve.testing import assert_no_switch, wait_until_parked
from tests.core.scripts import output
from tests.sync.threads import OSThread

CORE = os.path.dirname(greenserve.core.__file__)


class OurError(Exception):
    pass


def busy_until(moment: float) -> None:
    """Keep the OS thread, so that what falls due meanwhile fires in one round."""
    while time.monotonic() < moment:
        pass


# sleep ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.001, 0.01])
def test_sleep_is_never_too_short(seconds: float) -> None:
    began = time.monotonic()
    sleep(seconds)
    assert time.monotonic() - began >= seconds


@pytest.mark.parametrize("seconds", [0, 0.0, -1, -0.5, float("-inf"), False])
def test_sleep_for_no_time_lets_every_other_one_run_once(seconds: float) -> None:
    order: list[Any] = []

    def note(name: str) -> None:
        for number in range(2):
            order.append((name, number))
            sleep(seconds)

    threads = [spawn(note, name) for name in "ab"]
    sleep(seconds)
    assert order == [("a", 0), ("b", 0)]
    for thread in threads:
        thread.wait()
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


@pytest.mark.parametrize("seconds", [Fraction(1, 1000), Fraction(0), Decimal(0), Decimal(-1)])
def test_sleep_takes_whatever_can_be_compared_and_added_to_a_time(seconds: Any) -> None:
    began = time.monotonic()
    sleep(seconds)
    assert time.monotonic() - began >= seconds


@pytest.mark.parametrize("seconds", ["x", "1", None, [1], 1j, Decimal("0.1")])
def test_sleep_for_what_is_no_number_of_seconds_is_told_before_anything_switches(seconds: Any) -> None:
    message = re.escape(f"sleep({seconds!r}): give a number of seconds, such as sleep(0.5)")
    with assert_no_switch(), pytest.raises(TypeError, match=message):
        sleep(seconds)


def test_sleep_for_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        sleep(float("nan"))


@pytest.mark.parametrize("wait", [lambda nan: WaitQueue().wait(nan), Timeout, lambda nan: spawn(int).wait(nan)])
def test_a_timeout_of_nan_is_refused(wait: Callable[[float], Any]) -> None:
    with pytest.raises(ValueError, match="NaN"):
        wait(float("nan"))


def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    order: list[int] = []

    def nap(milliseconds: int) -> None:
        sleep(milliseconds / 1000)
        order.append(milliseconds)

    threads = [spawn(nap, milliseconds) for milliseconds in (9, 3, 6, 1)]
    for thread in threads:
        thread.wait()
    assert order == [1, 3, 6, 9]


# fds -----------------------------------------------------------------------------------------------------------------


def test_a_wait_for_an_fd_ends_when_there_is_something(pipe: tuple[int, int], hub: Hub) -> None:
    reader, writer = pipe
    source = hub.poller.source(reader)
    spawn(os.write, writer, b"x")
    assert wait_readable(source) is True
    assert wait_readable(source, 10) is True  # it is still there
    assert wait_writable(hub.poller.source(writer)) is True
    hub.close_source(source)


def test_a_wait_for_an_fd_gives_up_after_its_timeout_and_leaves_the_queue(pipe: tuple[int, int], hub: Hub) -> None:
    source = hub.poller.source(pipe[0])
    began = time.monotonic()
    assert wait_readable(source, 0.005) is False
    assert time.monotonic() - began >= 0.005
    assert source.readers == []
    hub.close_source(source)


def test_several_wait_for_one_fd_and_are_served_in_turn(pipe: tuple[int, int], hub: Hub) -> None:
    reader, writer = pipe
    source = hub.poller.source(reader)
    served: list[int] = []

    def take(number: int) -> None:
        wait_readable(source)
        served.append(number)
        os.read(reader, 1)

    threads = [spawn(take, number) for number in range(5)]
    wait_until_parked()
    for count in range(1, 6):
        os.write(writer, b"x")
        wait_until_parked()
        assert served == list(range(count))
    for thread in threads:
        thread.wait()
    hub.close_source(source)


def test_what_one_leaves_is_the_next_ones(pipe: tuple[int, int], hub: Hub) -> None:
    """Ready once, for a first in the queue that is killed, times out or takes nothing: the others are not forgotten."""
    reader, writer = pipe
    source = hub.poller.source(reader)
    killed, timed_out, idle = spawn(wait_readable, source), spawn(wait_readable, source, 0.001), None
    idle = spawn(wait_readable, source)
    last = spawn(wait_readable, source)
    wait_until_parked()
    os.write(writer, b"x")
    hub.call_soon(killed.throw, GreenletExit)
    busy_until(time.monotonic() + 0.002)
    assert last.wait(5) is True
    assert idle.wait(5) is True
    assert timed_out.wait(5) in (True, False)
    hub.close_source(source)


def test_an_fd_and_a_timeout_in_the_same_round_count_as_ready(pipe: tuple[int, int], hub: Hub) -> None:
    reader, writer = pipe
    source = hub.poller.source(reader)
    thread = spawn(wait_readable, source, 0.002)
    wait_until_parked()
    os.write(writer, b"x")
    busy_until(time.monotonic() + 0.004)  # both are over now
    assert thread.wait() is True
    hub.close_source(source)


def test_a_wait_that_is_ended_by_an_exception_leaves_the_queue(pipe: tuple[int, int], hub: Hub) -> None:
    source = hub.poller.source(pipe[0])
    for timeout in (None, 60):
        with pytest.raises(OurError), Timeout(0.001, OurError):
            wait_readable(source, timeout)
    assert source.readers == []
    hub.close_source(source)


def test_a_regular_file_is_always_ready_and_others_get_their_turn(hub: Hub) -> None:
    order: list[str] = []
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.seek(0)
        source = hub.poller.source(file.fileno())
        spawn(order.append, "other")
        for _ in range(3):
            assert wait_readable(source, 10) is True
        assert wait_readable(source) is True
        assert order == ["other"]
        hub.close_source(source)


def test_waiting_for_a_closed_fd_is_an_error_or_ends_at_once(hub: Hub) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    source = hub.poller.source(reader)
    try:
        assert wait_readable(source, 10) is True  # poll and select: who reads then sees the error
    except OSError as exc:
        assert exc.errno == errno.EBADF  # noqa: PT017 - one of the two
    assert source.readers == []
    hub.close_source(source)


# Waiters and their queue ---------------------------------------------------------------------------------------------


def test_a_waiter_is_resumed_once_however_often_it_is_notified() -> None:
    resumed: list[int] = []

    def park() -> None:
        waiters.append(new_waiter())
        waiters[0].park()
        resumed.append(1)
        sleep(0.001)
        resumed.append(2)

    waiters: list[Waiter | NativeWaiter] = []
    thread = spawn(park)
    sleep(0)
    for _ in range(3):
        waiters[0].notify()
    sleep(0)
    sleep(0)
    assert resumed == [1]
    thread.wait()
    waiters[0].notify()
    sleep(0)
    assert resumed == [1, 2]


def test_a_waiter_notified_before_it_parks_does_not_park() -> None:
    waiter = new_waiter()
    waiter.notify()
    with assert_no_switch():
        assert waiter.park() is True


def test_a_waiter_that_is_notified_in_the_round_of_its_timeout_was_notified(hub: Hub) -> None:
    queue = WaitQueue()
    thread = spawn(queue.wait, 0.001)
    sleep(0)
    busy_until(time.monotonic() + 0.002)
    hub.call_soon(queue.wake)
    assert thread.wait() is True


def test_a_wake_up_for_one_that_is_killed_goes_to_the_next() -> None:
    queue = WaitQueue()
    killed, next_one = spawn(queue.wait), spawn(queue.wait)
    sleep(0)
    assert queue.wake()
    killed.kill()
    assert next_one.wait(5) is True


def test_a_queue_wakes_in_order_and_says_whether_somebody_waited() -> None:
    queue = WaitQueue()
    order: list[int] = []

    def park(number: int) -> None:
        queue.wait()
        order.append(number)

    assert queue.wake() is False
    threads = [spawn(park, number) for number in range(4)]
    sleep(0)
    assert queue.wake() is True
    assert queue.wake_all() == 3
    assert queue.wake_all() == 0
    for thread in threads:
        thread.wait()
    assert order == [0, 1, 2, 3]


def test_wake_all_wakes_those_who_wait_now_and_not_those_who_come_meanwhile() -> None:
    queue = WaitQueue()
    rounds: list[int] = []

    def park() -> None:
        for number in range(2):
            queue.wait()
            rounds.append(number)

    thread = spawn(park)
    sleep(0)
    assert queue.wake_all() == 1
    wait_until_parked()
    assert rounds == [0]
    queue.wake_all()
    thread.wait()


def test_a_native_waiter_times_out_and_is_notified() -> None:
    def wait() -> tuple[bool, bool]:
        queue = WaitQueue()
        timed_out = queue.wait(0.001)
        waiter = queue.enter()
        assert isinstance(waiter, NativeWaiter)
        OSThread(queue.wake)
        return timed_out, queue.finish(waiter, 10)

    assert OSThread(wait).wait() == (False, True)


def test_a_callback_can_not_enter_a_queue(hub: Hub) -> None:
    errors: list[BaseException] = []
    queue = WaitQueue()

    def enter() -> None:
        try:
            queue.enter()
        except HubError as exc:
            errors.append(exc)

    hub.call_soon(enter)
    sleep(0)
    assert (len(errors), len(queue)) == (1, 0)


# What comes in between -----------------------------------------------------------------------------------------------

WAITS: dict[str, Callable[[WaitQueue, Any], Any]] = {
    "sleep(0)": lambda queue, source: sleep(0),
    "sleep": lambda queue, source: sleep(0.002),
    "a queue": lambda queue, source: queue.wait(),
    "a queue with a timeout": lambda queue, source: queue.wait(60),
    "a short timeout": lambda queue, source: queue.wait(0.001),
    "an fd": lambda queue, source: wait_readable(source),
    "an fd with a timeout": lambda queue, source: wait_readable(source, 60),
    "an fd with a short timeout": lambda queue, source: wait_readable(source, 0.001),
}


class Between:
    """Runs something before the n-th line of the core that a green thread comes to, as a finalizer might.

    Not between the check whether there is still something to wait for and the switch: Python looks for such things only
    after calls and at the ends of loops, and there is none.
    """

    def __init__(self, number: int, something: Callable[[], Any]) -> None:
        self._left = number
        self._something = something
        self.ran = False

    def run(self, function: Callable[[], Any]) -> Any:
        self._thread = getcurrent()
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            return function()
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if self.ran or getcurrent() is not self._thread or not frame.f_code.co_filename.startswith(CORE):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and "hub.switch()" not in line and "if timer.fire" not in line:
            self._left -= 1
            if self._left < 0:
                self.ran = True
                self._something()
        return self._trace


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_ends_while_a_finalizer_waits_in_its_place_is_over(
    wait: str, pipe: tuple[int, int], hub: Hub
) -> None:
    """A finalizer or a signal handler may come before any line and wait; what the other wait is for comes meanwhile."""
    reader, writer = pipe
    for number in itertools.count():
        queue, source = WaitQueue(), hub.poller.source(reader)

        def finalizer() -> None:
            os.write(writer, b"x")
            spawn(queue.wake)  # noqa: B023 - it runs in this round of the loop
            sleep(0.003)  # longer than the other waits take

        between = Between(number, finalizer)
        thread = spawn(between.run, lambda: WAITS[wait](queue, source))  # noqa: B023 - as above
        if not between.ran:
            wait_until_parked()
        os.write(writer, b"x")
        for _ in range(50):  # also if the finalizer came before the queue was entered
            if thread.ended:
                break
            queue.wake()
            sleep(0.0005)
        thread.wait(0.001)
        hub.close_source(source)
        try:
            while os.read(reader, 100):
                pass
        except BlockingIOError:
            pass
        if not between.ran:
            assert number > 3
            return


@pytest.mark.parametrize("wait", WAITS)
def test_a_switch_that_was_meant_for_another_wait_does_not_end_this_one(
    wait: str, pipe: tuple[int, int], hub: Hub
) -> None:
    _, writer = pipe
    queue, source = WaitQueue(), hub.poller.source(pipe[0])
    order: list[str] = []

    def park() -> Any:
        result = WAITS[wait](queue, source)
        order.append("ended")
        return result

    def stray_switch() -> None:
        thread.switch()
        order.append("switched")

    thread = spawn(park)
    sleep(0)
    if wait != "sleep(0)":  # that one ends in the next round anyway
        hub.ready.appendleft(Handle(stray_switch))
        sleep(0)
        assert order == ["switched"]
    os.write(writer, b"x")
    queue.wake()
    thread.wait(5)
    assert order[-1] == "ended"
    hub.close_source(source)


def test_a_signal_handler_that_waits_in_a_green_thread_loses_nobody_a_wake_up() -> None:
    assert output("""
        import os, signal, time
        from greenlet import getcurrent
        from greenserve.core import get_hub, sleep, spawn
        from greenserve.core.waiters import WaitQueue, wait_readable

        hub = get_hub()
        reader, writer = os.pipe()
        source = hub.poller.source(reader)
        end = time.monotonic() + 1
        handled = 0

        def handler(*args):
            global handled
            if getcurrent() is not hub.greenlet:
                handled += 1
                sleep(0.0001)
            if time.monotonic() < end:
                signal.setitimer(signal.ITIMER_REAL, 0.0003)

        def switch():
            while time.monotonic() < end:
                sleep(0)

        def nap():
            while time.monotonic() < end:
                sleep(0.0001)

        def read():
            os.write(writer, b"x")
            while time.monotonic() < end:
                wait_readable(source)

        def hand_over(mine, other):
            while time.monotonic() < end:
                other.wake()
                mine.wait(0.001)

        queues = [WaitQueue(), WaitQueue()]
        threads = [spawn(work) for work in (switch, nap, read, switch, nap, read)]
        threads += [spawn(hand_over, *queues), spawn(hand_over, *queues[::-1])]
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        for thread in threads:
            thread.wait(10)
        print(handled > 10)
    """) == ["True"]


def test_get_hub_is_made_by_the_first_wait() -> None:
    def wait() -> bool:
        sleep(0)
        return get_hub().is_idle()

    assert OSThread(wait).wait() is True
