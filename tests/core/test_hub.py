from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import time
import weakref

import pytest

from greenserve.core import GreenThread, Hub, Timeout, get_hub, sleep, spawn, use_hub
from greenserve.core.hub import has_hub
from greenserve.core.poller import BACKENDS
from greenserve.core.timers import Handle
from greenserve.core.waiters import WaitQueue, wait_readable, wait_writable
from greenserve.errors import ClosedWhileWaiting, HubError
from greenserve.testing import wait_until_parked
from tests.core.scripts import output, run
from tests.sync.threads import OSThread


class OurError(Exception):
    pass


# Order ---------------------------------------------------------------------------------------------------------------


def test_callbacks_run_in_the_order_in_which_they_were_asked_for(hub: Hub) -> None:
    order: list[int] = []
    for number in range(5):
        hub.call_soon(order.append, number)
    sleep(0)
    assert order == [0, 1, 2, 3, 4]


def test_timers_run_in_the_order_of_their_deadlines_and_not_before(hub: Hub) -> None:
    began = time.monotonic()
    ran: list[tuple[str, float]] = []
    for name, delay in [("late", 0.03), ("early", 0.01), ("past", -1.0), ("middle", 0.02)]:
        hub.call_later(delay, lambda name=name: ran.append((name, time.monotonic() - began)))
    sleep(0.04)
    assert [name for name, _ in ran] == ["past", "early", "middle", "late"]
    assert [after >= delay for (_, after), delay in zip(ran, [0, 0.01, 0.02, 0.03], strict=True)] == [True] * 4


def test_what_was_cancelled_does_not_run(hub: Hub) -> None:
    ran: list[int] = []
    handles = [hub.call_soon(ran.append, 1), hub.call_later(0.001, ran.append, 2), hub.call_at(0, ran.append, 3)]
    assert [handle.pending for handle in handles] == [True] * 3
    for handle in handles:
        handle.cancel()
    sleep(0.002)
    assert ran == []
    assert [handle.pending for handle in handles] == [False] * 3


def test_a_handle_that_has_run_is_not_pending(hub: Hub) -> None:
    handle = hub.call_soon(int)
    sleep(0)
    assert not handle.pending


def test_cancelled_timers_do_not_pile_up(hub: Hub) -> None:
    for _ in range(1000):
        hub.call_later(3600, int).cancel()
    assert len(hub.timers.heap) < 200


def test_what_a_callback_schedules_runs_in_the_next_round(hub: Hub) -> None:
    order: list[str] = []

    def first() -> None:
        hub.call_soon(order.append, "added")
        order.append("first")

    hub.call_soon(first)
    hub.call_soon(order.append, "second")
    sleep(0)
    sleep(0)
    assert order == ["first", "second", "added"]


def test_a_callback_that_fails_is_logged_once_and_harms_nobody(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OurError("no")

    ran: list[int] = []
    hub.call_soon(fail)
    hub.call_soon(ran.append, 1)
    hub.call_later(0, fail)
    hub.call_later(0, ran.append, 2)
    sleep(0.001)
    assert ran == [1, 2]
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        ("greenserve.core", logging.ERROR, f"a callback of the hub failed: {fail!r}")
    ] * 2
    assert all(record.exc_info is not None and record.exc_info[0] is OurError for record in caplog.records)


def test_a_callback_that_blocks_gets_an_error_that_says_what_to_do(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    for function in (sleep, lambda: sleep(1), WaitQueue().wait, spawn(sleep, 0).wait):
        hub.call_soon(function)
    sleep(0)
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info is not None]
    assert len(texts) == 4
    assert all("greenserve.spawn(function)" in text for text in texts)
    wait_until_parked()


def test_who_sleeps_nearly_for_ever_disturbs_nobody() -> None:
    # No other timer shortens these polls: a signal ends them.
    assert (
        output("""
        import logging, signal
        from greenserve.core import sleep

        logging.basicConfig()

        def wake(*args):
            raise OSError("enough")

        signal.signal(signal.SIGALRM, wake)
        for seconds in (3e6, 1e12, float("inf")):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                sleep(seconds)
            except OSError as exc:
                print(exc)
    """)
        == ["enough"] * 3
    )


def test_now_is_the_monotonic_time_of_the_last_look(hub: Hub) -> None:
    before = time.monotonic()
    sleep(0.001)
    assert before < hub.now <= time.monotonic()


# Fairness ------------------------------------------------------------------------------------------------------------

BUSY_SECONDS = 1.0
AT_MOST = 0.5  # seconds that others may be kept waiting; a starved one would wait for BUSY_SECONDS


class Busy:
    """Keeps the hub busy for a second, or until told that it is enough."""

    def __init__(self) -> None:
        self._end = time.monotonic() + BUSY_SECONDS

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self._end

    def stop(self) -> None:
        self._end = 0


def spawn_for_ever(busy: Busy) -> None:
    if busy.goes_on:
        spawn(spawn_for_ever, busy)
        spawn(int)


def switch_for_ever(busy: Busy) -> None:
    while busy.goes_on:
        sleep(0)


def call_for_ever(busy: Busy) -> None:
    if busy.goes_on:
        get_hub().call_soon(call_for_ever, busy)


def have_timers_for_ever(busy: Busy) -> None:
    if busy.goes_on:
        get_hub().call_later(0, have_timers_for_ever, busy)


def read_for_ever(busy: Busy) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")  # nobody ever reads it
        source = get_hub().poller.source(ours.fileno())
        while busy.goes_on:
            wait_readable(source)
        get_hub().close_source(source)


KEEP_BUSY = [spawn_for_ever, switch_for_ever, call_for_ever, have_timers_for_ever, read_for_ever]


@pytest.mark.parametrize("keep_busy", KEEP_BUSY)
def test_timers_get_their_turn_while_others_keep_the_hub_busy(keep_busy: object) -> None:
    busy = Busy()
    others = [spawn(keep_busy, busy) for _ in range(3)]  # type: ignore[arg-type]
    began = time.monotonic()
    for _ in range(5):
        sleep(0.001)
    took = time.monotonic() - began
    busy.stop()
    for other in others:
        other.wait()
    assert took < AT_MOST


@pytest.mark.parametrize("keep_busy", KEEP_BUSY)
def test_fds_get_their_turn_while_others_keep_the_hub_busy(keep_busy: object, pipe: tuple[int, int], hub: Hub) -> None:
    reader, writer = pipe
    busy = Busy()
    others = [spawn(keep_busy, busy) for _ in range(3)]  # type: ignore[arg-type]
    source = hub.poller.source(reader)
    began = time.monotonic()
    for _ in range(5):
        hub.call_soon(os.write, writer, b"x")
        wait_readable(source)
        os.read(reader, 1)
    took = time.monotonic() - began
    busy.stop()
    for other in others:
        other.wait()
    hub.close_source(source)
    assert took < AT_MOST


@pytest.mark.parametrize("keep_busy", KEEP_BUSY)
def test_other_os_threads_get_their_turn_while_others_keep_the_hub_busy(keep_busy: object) -> None:
    def measure() -> float:
        busy = Busy()
        others: list[GreenThread[None]] = [spawn(keep_busy, busy) for _ in range(3)]  # type: ignore[arg-type]
        queue = WaitQueue()
        waiter = queue.enter()
        call = get_hub().call_soon_threadsafe
        began = time.monotonic()
        OSThread(lambda: call(queue.wake))
        queue.finish(waiter)
        took = time.monotonic() - began
        busy.stop()
        for other in others:
            other.wait()
        return took

    assert OSThread(measure).wait() < AT_MOST


# The main greenlet ---------------------------------------------------------------------------------------------------


def test_an_exception_for_main_is_raised_where_it_is_parked(hub: Hub) -> None:
    hub.call_soon(hub.throw_in_main, OurError("for main"))
    with pytest.raises(OurError, match="for main"):
        sleep(10)


def test_an_exception_for_main_does_not_disturb_others(hub: Hub) -> None:
    other = spawn(sleep, 0.001)
    hub.call_soon(hub.throw_in_main, OurError())
    with pytest.raises(OurError):
        other.wait()
    assert other.wait() is None


def test_main_itself_gets_its_exception_at_once(hub: Hub) -> None:
    with pytest.raises(OurError):
        hub.throw_in_main(OurError())
    sleep(0)  # and not once more


# Closing fds ---------------------------------------------------------------------------------------------------------


def test_closing_wakes_all_who_wait_at_once_with_an_error(hub: Hub) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        while True:
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        source = hub.poller.source(ours.fileno())
        waiting = [spawn(wait_readable, source), spawn(wait_readable, source), spawn(wait_writable, source)]
        wait_until_parked()
        hub.close_source(source)
        for thread in waiting:
            with pytest.raises(ClosedWhileWaiting) as info:
                thread.wait(5)
            assert info.value.errno == errno.EBADF
        with pytest.raises(ClosedWhileWaiting):
            wait_readable(source)
        hub.close_source(source)


def test_closing_does_not_reach_who_has_gone_on_meanwhile(hub: Hub, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    source = hub.poller.source(reader)

    def wait_and_go_on() -> str:
        try:
            wait_readable(source)
        except OurError:
            sleep(0.001)
        return "went on"

    thread = spawn(wait_and_go_on)
    wait_until_parked()
    hub.close_source(source)  # tells it in the next round,
    hub.call_soon(thread.throw, OurError)  # which is too late
    assert thread.wait() == "went on"


def test_an_interrupt_reaches_all_who_wait_now_and_leaves_the_fd_as_it_is(hub: Hub, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = hub.poller.source(reader)
    waiting = [spawn(wait_readable, source) for _ in range(2)]
    wait_until_parked()
    hub.interrupt(source, OurError())
    for thread in waiting:
        with pytest.raises(OurError):
            thread.wait()
    hub.call_soon(os.write, writer, b"x")
    assert wait_readable(source, 5)
    hub.close_source(source)


def test_a_callback_that_waits_for_an_fd_runs_when_it_is_closed(hub: Hub, pipe: tuple[int, int]) -> None:
    ran: list[bool] = []
    source = hub.poller.source(pipe[0])
    source.readers.append(Handle(lambda: ran.append(source.closed)))
    hub.poller.want(source, 1)
    hub.close_source(source)
    wait_until_parked()
    assert ran == [True]


# One hub for each OS thread ------------------------------------------------------------------------------------------


def test_each_os_thread_has_a_hub_of_its_own(hub: Hub) -> None:
    assert get_hub() is hub
    assert has_hub()
    assert OSThread(has_hub).wait() is False
    assert OSThread(get_hub).wait() is not hub


@pytest.mark.parametrize("name", [*BACKENDS, None])
def test_a_program_chooses_its_selector(name: str | None) -> None:
    def try_it() -> str:
        use_hub(name)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            source = get_hub().poller.source(ours.fileno())
            spawn(theirs.send, b"x")
            assert wait_readable(source, 5)
            assert not wait_readable(get_hub().poller.source(theirs.fileno()), 0.001)
            get_hub().close_source(source)
        return get_hub().poller.backend.name

    assert OSThread(try_it).wait() == (name or next(iter(BACKENDS)))


def test_a_selector_may_be_chosen_again_while_nothing_waits() -> None:
    def choose() -> list[str]:
        names = []
        for name in [*BACKENDS, *BACKENDS]:
            use_hub(name)
            spawn(sleep, 0).wait()
            names.append(get_hub().poller.backend.name)
        return names

    assert OSThread(choose).wait() == [*BACKENDS, *BACKENDS]


def test_an_unknown_selector_is_refused_and_the_hub_stays() -> None:
    def choose() -> bool:
        before = get_hub()
        with pytest.raises(HubError, match="no selector 'nope' here"):
            use_hub("nope")
        return get_hub() is before

    assert OSThread(choose).wait()


def sleeps() -> None:
    spawn(sleep, 10)


def is_about_to_run() -> None:
    spawn(int)


def may_be_called_from_outside() -> None:
    assert get_hub().call_soon_threadsafe


def has_a_timer() -> None:
    get_hub().call_later(10, int)


def nothing_at_all() -> None:
    pass


@pytest.mark.parametrize("state", [sleeps, is_about_to_run, may_be_called_from_outside, has_a_timer])
def test_a_hub_in_use_is_not_replaced(state: object) -> None:
    def choose() -> None:
        state()  # type: ignore[operator]
        with pytest.raises(HubError, match="call it first"):
            use_hub("select")

    OSThread(choose).wait()


@pytest.mark.usefixtures("quiet")
def test_a_green_thread_can_not_replace_the_hub_that_runs_it() -> None:
    def choose() -> None:
        with pytest.raises(HubError, match="call it first"):
            spawn(use_hub, "select").wait()

    OSThread(choose).wait()


def test_the_environment_chooses_the_selector() -> None:
    for name in BACKENDS:
        if name == "kqueue":
            continue
        done = run(f"""
            import os
            os.environ["GREENSERVE_SELECTOR"] = {name!r}
            from greenserve.core import get_hub
            print(get_hub().poller.backend.name)
        """)
        assert (done.stdout, done.stderr) == (f"{name}\n", "")


def test_a_misspelt_selector_in_the_environment_is_an_error_that_names_those_there_are() -> None:
    done = run("""
        import os
        os.environ["GREENSERVE_SELECTOR"] = "epol"
        from greenserve.core import sleep
        sleep(0)
    """)
    assert done.returncode == 1
    assert "HubError: no selector 'epol' here: choose one of" in done.stderr


# Its end -------------------------------------------------------------------------------------------------------------


def test_a_closed_hub_says_so_to_who_wants_to_wait() -> None:
    def close() -> None:
        hub = get_hub()
        hub.close()
        hub.close()
        for wait in (sleep, lambda: sleep(1), WaitQueue().wait, lambda: WaitQueue().wait(1)):
            with pytest.raises(HubError, match="hub is closed"):
                wait()

    OSThread(close).wait()


def test_closing_a_hub_ends_what_is_parked_there() -> None:
    def close() -> list[str]:
        ended: list[str] = []

        def park(name: str) -> None:
            try:
                sleep(10)
            finally:
                ended.append(name)

        threads = [spawn(park, "a"), spawn(park, "b")]
        sleep(0)
        threads.append(spawn(park, "never started"))
        get_hub().close()
        assert [thread.dead for thread in threads] == [True] * 3
        return sorted(ended)

    assert OSThread(close).wait() == ["a", "b"]


def test_a_closed_hub_is_freed_by_reference_counting_alone() -> None:
    def make_and_close() -> weakref.ref[Hub]:
        spawn(sleep, 0).wait()
        with Timeout(1):
            sleep(0)
        return weakref.ref(get_hub())

    gc.collect()
    gc.disable()
    try:
        assert OSThread(make_and_close).wait()() is None
    finally:
        gc.enable()
