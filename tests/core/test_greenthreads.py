from __future__ import annotations

import contextvars
import gc
import logging
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from greenlet import greenlet

from greenserve.core import (
    GreenletExit,
    GreenThread,
    Hub,
    Timeout,
    getcurrent,
    sleep,
    spawn,
    spawn_after,
    spawn_n,
)
from greenserve.core.waiters import WaitQueue
from greenserve.errors import HubError
from greenserve.sync.events import Event
from greenserve.testing import assert_no_switch, wait_until_parked
from tests.core.scripts import output, run


class OurError(Exception):
    pass


def fail() -> None:
    raise OurError("failed")


class Caller:
    def __call__(self, items: tuple[()]) -> None: ...

    def go(self, items: tuple[()]) -> None: ...


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


def test_its_repr_tells_the_function_and_how_far_it_is(hub: Hub) -> None:
    shown = []

    def work(number: int) -> None:
        shown.append(repr(thread))
        sleep(0)

    name = f"{test_its_repr_tells_the_function_and_how_far_it_is.__name__}.<locals>.work"
    thread = spawn(partial(work, 1))
    prefix = f"<GreenThread at {id(thread):#x}:"
    assert repr(thread) == f"{prefix} {name}, not started>"
    sleep(0)
    assert repr(thread) == f"{prefix} {name}, parked>"
    assert shown == [f"{prefix} {name}, running>"]
    thread.wait()
    assert repr(thread) == f"{prefix} ended>"


@pytest.mark.parametrize(("function", "name"), [(sorted, "sorted"), (Caller(), "Caller"), (Caller().go, "Caller.go")])
def test_its_repr_tells_what_can_be_called_by_a_name(hub: Hub, function: Callable[..., Any], name: str) -> None:
    thread = spawn(function, ())
    assert repr(thread).endswith(f": {name}, not started>")
    thread.cancel()


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
        ended = Event[None]()
        thread.link(lambda _: ended.send())
        if end is be_killed:
            sleep(0)
            thread.kill()
        ended.wait()
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
