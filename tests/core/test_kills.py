from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from greenserve.core import (
    GreenletExit,
    GreenThread,
    Hub,
    getcurrent,
    kill,
    sleep,
    spawn,
    spawn_after,
    spawn_n,
)
from greenserve.core.waiters import WaitQueue
from greenserve.testing import assert_no_switch, wait_until_parked


class OurError(Exception):
    pass


def park(order: list[str]) -> None:
    """Sleep until it is killed, and say when it is."""
    try:
        sleep(60)
    finally:
        order.append("finally")


def test_kill_ends_it_where_it_is_parked_before_the_caller_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []
    thread = spawn(park, order)
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
    thread = spawn_n(park, order)
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
