from __future__ import annotations

import contextvars
import gc
import logging
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import greenlet

from greenserve.core import (
    GreenletExit,
    GreenThread,
    Hub,
    Timeout,
    getcurrent,
    kill,
    sleep,
    spawn,
    spawn_after,
    spawn_n,
)
from greenserve.core.waiters import WaitQueue
from greenserve.errors import HubError
from greenserve.testing import assert_no_switch, wait_until_parked
from tests.core.scripts import output, run


class OurError(Exception):
    pass


def fail() -> None:
    raise OurError("failed")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, type[BaseException] | None]]:
    return [(record.name, record.levelno, record.exc_info[0] if record.exc_info else None) for record in caplog.records]


# Starting ------------------------------------------------------------------------------------------------------------


def test_a_green_thread_runs_from_the_next_round_on_with_its_arguments() -> None:
    ran: list[Any] = []

    def run_it(*args: Any, **kwargs: Any) -> None:
        ran.append((args, kwargs))

    with assert_no_switch():
        spawn(run_it, 1, function="also a keyword")
        spawn_n(run_it, 2, seconds=5)
        spawn_after(0, run_it, 3, self=None)
    assert ran == []
    sleep(0.001)
    assert sorted(ran) == [((1,), {"function": "also a keyword"}), ((2,), {"seconds": 5}), ((3,), {"self": None})]


def test_green_threads_start_in_the_order_in_which_they_were_spawned() -> None:
    order: list[int] = []
    for number in range(6):
        (spawn, spawn_n)[number % 2](order.append, number)
    sleep(0)
    assert order == [0, 1, 2, 3, 4, 5]


def test_wait_returns_the_result_now_or_later() -> None:
    thread = spawn(lambda: "result")
    assert [thread.wait() for _ in range(3)] == ["result"] * 3
    with assert_no_switch():
        assert thread.wait() == "result"
    assert (thread.dead, thread.ended) == (True, True)


def test_many_wait_for_one() -> None:
    thread = spawn(lambda: (sleep(0.001), "result")[1])
    waiting = [spawn(thread.wait) for _ in range(5)]
    assert [waiter.wait() for waiter in waiting] == ["result"] * 5


def test_wait_gives_up_after_its_timeout_and_the_green_thread_goes_on() -> None:
    queue = WaitQueue()
    thread = spawn(queue.wait)
    with pytest.raises(TimeoutError, match=r"not ended within 0.001 s"):
        thread.wait(0.001)
    queue.wake()
    assert thread.wait() is True


def test_a_green_thread_that_waits_for_itself_gets_an_error() -> None:
    def wait_for_myself() -> None:
        getcurrent().wait()  # type: ignore[attr-defined]

    with pytest.raises(HubError, match="its own end"):
        spawn(wait_for_myself).wait()


def test_spawn_after_runs_no_sooner_and_can_be_taken_back(hub: Hub) -> None:
    ran: list[str] = []
    late, never = spawn_after(0.002, ran.append, "late"), spawn_after(0.001, ran.append, "never")
    never.cancel()
    late.wait()
    assert ran == ["late"]
    with pytest.raises(GreenletExit):
        never.wait()


def test_those_that_were_taken_back_do_not_pile_up(hub: Hub) -> None:
    for _ in range(300):
        spawn_after(3600, int).cancel()
    assert len(hub.timers.heap) < 150


# Failing -------------------------------------------------------------------------------------------------------------


def test_a_failure_is_logged_once_and_raised_by_each_wait(caplog: pytest.LogCaptureFixture) -> None:
    thread = spawn(fail)
    for _ in range(3):
        with pytest.raises(OurError, match="failed") as info:
            thread.wait()
        assert info.traceback[-1].name == "fail"
    assert logged(caplog) == [("greenserve.core", logging.ERROR, OurError)]
    assert repr(fail) in caplog.records[0].getMessage()


@pytest.mark.parametrize("start", [spawn, spawn_n, lambda function: spawn_after(0, function)])
def test_a_failure_harms_nobody_else(start: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    other = spawn(lambda: (sleep(0.001), "well")[1])
    start(fail)
    assert other.wait() == "well"
    assert logged(caplog) == [("greenserve.core", logging.ERROR, OurError)]


def test_a_call_with_the_wrong_arguments_fails_in_the_green_thread(caplog: pytest.LogCaptureFixture) -> None:
    thread = spawn(lambda: None, "one too many")
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        thread.wait()
    assert logged(caplog) == [("greenserve.core", logging.ERROR, TypeError)]


@pytest.mark.parametrize("start", [spawn, spawn_n])
def test_greenlet_exit_is_silent(start: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    def leave() -> None:
        raise GreenletExit

    start(leave)
    wait_until_parked()
    assert caplog.records == []


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("start", [spawn, spawn_n])
def test_what_is_meant_for_the_process_reaches_main(
    start: Callable[..., Any], exception: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def leave() -> None:
        raise exception("from a green thread")

    start(leave)
    with pytest.raises(exception, match="from a green thread"):
        sleep(10)
    assert caplog.records == []


def test_system_exit_in_a_green_thread_is_the_status_of_the_process() -> None:
    done = run("""
        import sys
        from greenserve.core import sleep, spawn
        spawn(sys.exit, 5)
        sleep(60)
    """)
    assert (done.returncode, done.stderr) == (5, "")


# Links ---------------------------------------------------------------------------------------------------------------


def test_a_link_is_called_with_the_green_thread_when_it_has_ended() -> None:
    calls: list[Any] = []

    def note(thread: GreenThread[Any], *args: Any, **kwargs: Any) -> None:
        calls.append((thread, thread.ended, args, kwargs))

    thread = spawn(int)
    thread.link(note, 1, key=2)
    assert calls == []
    thread.wait()
    thread.link(note)  # at once
    assert calls == [(thread, True, (1,), {"key": 2}), (thread, True, (), {})]


def test_links_are_called_in_order_whatever_the_end_and_however_some_of_them_fail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    order: list[int] = []

    def note(_: Any, number: int) -> None:
        order.append(number)
        if number == 1:
            raise OurError

    for end in (int, fail, lambda: getcurrent().throw(GreenletExit)):
        thread = spawn(end)
        for number in range(3):
            thread.link(note, number)
        wait_until_parked()
        assert order == [0, 1, 2]
        order.clear()
    assert [kind for _, _, kind in logged(caplog)] == [OurError] * 4


def test_a_link_may_wait() -> None:
    order: list[str] = []

    def wait_a_little(_: Any) -> None:
        sleep(0.001)
        order.append("link")

    thread = spawn(int)
    thread.link(wait_a_little)
    thread.wait()
    order.append("wait")
    assert order == ["link", "wait"]


def test_unlink_takes_back_the_link_with_the_same_arguments() -> None:
    calls: list[int] = []

    def note(_: Any, number: int) -> None:
        calls.append(number)

    thread = spawn(int)
    for number in (1, 2, 1):
        thread.link(note, number)
    assert [thread.unlink(note, 1), thread.unlink(note, 3), thread.unlink(fail)] == [True, False, False]
    thread.wait()
    assert calls == [2, 1]
    assert thread.unlink(note, 2) is False


# Killing -------------------------------------------------------------------------------------------------------------


def test_kill_ends_it_where_it_is_parked_before_the_caller_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def park() -> None:
        try:
            sleep(60)
        finally:
            order.append("finally")

    thread = spawn(park)
    sleep(0)
    thread.kill()
    order.append("kill returned")
    assert order == ["finally", "kill returned"]
    with pytest.raises(GreenletExit):
        thread.wait()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("args", "kind", "text"),
    [
        ((), GreenletExit, ""),
        ((OurError,), OurError, ""),
        ((OurError("instance"),), OurError, "instance"),
        ((OurError, "value"), OurError, "value"),
        ((OurError, OurError("both")), OurError, "both"),
        ((OurError, OurError("all"), None), OurError, "all"),
    ],
)
@pytest.mark.parametrize("started", [True, False])
def test_kill_raises_what_it_is_told_to(
    args: tuple[Any, ...], kind: type[BaseException], text: str, started: bool
) -> None:
    thread = spawn(sleep, 60)
    if started:
        sleep(0)
    thread.kill(*args)
    with pytest.raises(kind) as info:
        thread.wait()
    assert str(info.value) == text


def test_one_that_is_killed_before_it_starts_never_runs_and_its_links_are_called() -> None:
    calls: list[Any] = []
    for thread in (spawn(calls.append, "ran"), spawn_after(0, calls.append, "ran"), spawn_after(60, calls.append)):
        thread.link(lambda thread: calls.append("linked"))
        thread.kill()
        assert (thread.dead, thread.ended) == (True, True)
    sleep(0.001)
    assert calls == ["linked"] * 3


def test_killing_what_has_ended_has_no_effect() -> None:
    thread = spawn(lambda: 5)
    thread.wait()
    with assert_no_switch():
        thread.kill()
        kill(thread, OurError)
        thread.cancel()
    assert thread.wait() == 5


def test_one_that_still_calls_its_links_has_ended_and_is_not_killed() -> None:
    ended: list[str] = []

    def wait_a_little(_: Any) -> None:
        sleep(0.001)
        ended.append("link")

    thread = spawn(lambda: 5)
    thread.link(wait_a_little)
    sleep(0)
    thread.kill()
    assert thread.wait() == 5
    wait_until_parked()
    sleep(0.002)
    assert ended == ["link"]


def test_cancel_has_no_effect_on_one_that_has_started() -> None:
    thread = spawn(lambda: (sleep(0.001), "ran")[1])
    sleep(0)
    with assert_no_switch():
        thread.cancel()
    assert thread.wait() == "ran"


def test_a_green_thread_may_kill_itself_and_what_it_cleans_up_runs() -> None:
    order: list[str] = []

    def end() -> None:
        try:
            getcurrent().kill()  # type: ignore[attr-defined]
            order.append("not reached")
        finally:
            sleep(0.001)
            order.append("finally")

    thread = spawn(end)
    with pytest.raises(GreenletExit):
        thread.wait()
    assert order == ["finally"]


def test_kill_inside_a_finally_block_ends_that_too() -> None:
    order: list[str] = []

    def park() -> None:
        try:
            sleep(60)
        finally:
            try:
                sleep(60)
            finally:
                order.append("inner finally")
            order.append("not reached")

    thread = spawn(park)
    sleep(0)
    thread.kill()
    thread.kill()
    with pytest.raises(GreenletExit):
        thread.wait()
    assert order == ["inner finally"]


def test_one_that_survives_a_kill_goes_on() -> None:
    def survive() -> str:
        try:
            sleep(60)
        except GreenletExit:
            sleep(0.001)
        return "survived"

    thread = spawn(survive)
    sleep(0)
    thread.kill()
    assert thread.wait() == "survived"


def test_two_may_kill_each_other() -> None:
    threads: list[GreenThread[None]] = []

    def kill_number(number: int) -> None:
        threads[number].kill()

    threads += [spawn(kill_number, 1), spawn(kill_number, 0)]
    wait_until_parked()
    assert [thread.ended for thread in threads] == [True, True]


def test_a_killer_that_is_killed_while_it_kills_goes_on_once() -> None:
    order: list[str] = []
    threads: list[GreenThread[None]] = []

    def park() -> None:
        try:
            sleep(60)
        except GreenletExit:
            threads[1].kill(OurError)  # it has asked for this end, and waits for its next round

    def murder() -> None:
        try:
            threads[0].kill()
        except OurError:
            order.append("killed")
        sleep(0.001)
        order.append("slept")

    threads += [spawn(park), spawn(murder)]
    for thread in threads:
        thread.wait()
    assert order == ["killed", "slept"]


WAITS: dict[str, Callable[[WaitQueue], Any]] = {
    "sleep(0)": lambda queue: sleep(0),
    "a short sleep": lambda queue: sleep(0.0001),
    "a queue": lambda queue: queue.wait(),
    "a queue with a timeout": lambda queue: queue.wait(60),
    "a short timeout": lambda queue: queue.wait(0.0001),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("kill_comes_first", [True, False])
def test_a_wake_up_that_comes_with_the_kill_resumes_nobody_elsewhere(
    wait: str, kill_comes_first: bool, hub: Hub
) -> None:
    """Killed in the round in which its wait ends anyway, it must not be resumed by that in its next one."""
    queue = WaitQueue()
    slept: list[float] = []

    def park() -> None:
        try:
            WAITS[wait](queue)
        except OurError:
            pass
        began = time.monotonic()
        try:
            sleep(0.01)
        except OurError:  # the wake-up came first, and the kill to this one
            began = time.monotonic()
            sleep(0.01)
        slept.append(time.monotonic() - began)

    thread = spawn(park)
    sleep(0)
    steps: list[Callable[[], Any]] = [lambda: hub.call_soon(thread.throw, OurError), queue.wake]
    for step in steps if kill_comes_first else reversed(steps):
        step()
    due = time.monotonic() + 0.0002
    while time.monotonic() < due:
        pass  # now the short waits are over too, and everything fires in one round
    thread.wait()
    assert slept[0] >= 0.01


def test_a_plain_greenlet_is_killed_where_it_is_parked() -> None:
    order: list[str] = []

    def park() -> None:
        try:
            sleep(60)
        finally:
            order.append("finally")

    thread = spawn_n(park)
    sleep(0)
    kill(thread)
    assert (order, thread.dead) == (["finally"], True)


@pytest.mark.parametrize("args", [(), (OurError,)])
def test_a_plain_greenlet_that_is_killed_before_it_starts_never_runs(
    args: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    thread = spawn_n(ran.append, "ran")
    kill(thread, *args)
    sleep(0)
    assert (ran, thread.dead, caplog.records) == ([], True, [])


def test_a_caller_that_kills_with_something_else_is_told_at_once() -> None:
    thread = spawn(sleep, 60)
    sleep(0)
    for wrong in ("text", 5, int):
        with pytest.raises(TypeError, match="give an exception"):
            thread.kill(wrong)
    assert not thread.ended
    thread.kill()


# What belongs to one -------------------------------------------------------------------------------------------------

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="default")


@pytest.mark.parametrize("start", [spawn, spawn_n])
def test_context_variables_are_a_green_threads_own(start: Callable[..., Any]) -> None:
    seen: list[str] = []

    def set_and_look(name: str) -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set(name)
        sleep(0)
        seen.append(VARIABLE.get())

    token = VARIABLE.set("main's")
    try:
        for name in ("a", "b"):
            start(set_and_look, name)
        wait_until_parked()
        assert (seen, VARIABLE.get()) == (["default", "default", "a", "b"], "main's")
    finally:
        VARIABLE.reset(token)


def test_the_exception_that_is_handled_is_a_green_threads_own() -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(sys.exc_info()[0])
        try:
            fail()
        except OurError:
            sleep(0)
            seen.append(sys.exc_info()[0])

    try:
        raise KeyError
    except KeyError:
        threads = [spawn(look) for _ in range(2)]
        for thread in threads:
            thread.wait()
        seen.append(sys.exc_info()[0])
    assert seen == [None, None, OurError, OurError, KeyError]


# Memory --------------------------------------------------------------------------------------------------------------


class Thing:
    pass


def end_well(thing: Thing) -> Thing:
    sleep(0)
    return thing


def end_badly(thing: Thing) -> None:
    sleep(0)
    raise OurError


def end_with_a_timeout(thing: Thing) -> None:
    with Timeout(0.0001, False):
        sleep(60)


def be_killed(thing: Thing) -> None:
    sleep(60)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("end", [end_well, end_badly, end_with_a_timeout, be_killed])
@pytest.mark.parametrize("waited_for", [True, False])
def test_what_a_green_thread_held_is_freed_with_it_without_the_collector(
    end: Callable[[Thing], Any], waited_for: bool
) -> None:
    def run_it() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        thing = Thing()
        thread = spawn(end, thing)
        sleep(0.002)
        if end is be_killed:
            thread.kill()
        if waited_for:
            try:
                thread.wait()
            except (OurError, GreenletExit) as exc:
                # Whoever catches it keeps its own frames alive by this.
                exc.__traceback__ = None
        return weakref.ref(thread), weakref.ref(thing)

    gc.collect()
    gc.disable()
    try:
        thread, thing = run_it()
        sleep(0)
        assert (thread(), thing()) == (None, None)
    finally:
        gc.enable()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("start", [spawn, spawn_n])
@pytest.mark.parametrize("end", [end_well, end_badly])
def test_green_threads_by_the_thousand_leave_nothing(start: Callable[..., Any], end: Callable[..., Any]) -> None:
    def run_them(count: int) -> int:
        for _ in range(count // 50):
            threads = [start(end, Thing()) for _ in range(50)]
            wait_until_parked()
            for thread in threads:
                assert thread.dead
        del threads
        gc.collect()
        return len(gc.get_objects())

    before = run_them(200)
    assert run_them(5000) - before < 50


def test_one_that_was_never_run_is_freed() -> None:
    thing = Thing()
    freed = weakref.ref(thing)
    thread = spawn_after(60, end_well, thing)
    thread.cancel()
    del thing, thread
    sleep(0)
    gc.collect()
    assert freed() is None


def test_parked_green_threads_are_known_by_their_parent(hub: Hub) -> None:
    thread, plain = spawn(sleep, 0.001), spawn_n(sleep, 0.001)
    assert [thread.parent, plain.parent] == [hub.greenlet] * 2
    assert isinstance(thread, greenlet)
    assert type(plain) is greenlet
    thread.wait()
    sleep(0.001)


def test_a_signal_handler_may_spawn_while_the_hub_polls() -> None:
    assert output("""
        import signal
        from greenserve.core import sleep, spawn
        signal.signal(signal.SIGALRM, lambda *args: threads.append(spawn(print, "ran")))
        threads = []
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        sleep(0.05)
        print(len(threads), threads[0].ended)
    """) == ["ran", "1 True"]
