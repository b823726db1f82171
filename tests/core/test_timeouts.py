from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from greenserve.core import Hub, Timeout, is_timeout, sleep, spawn, with_timeout
from greenserve.core.waiters import WaitQueue
from greenserve.errors import HubError
from tests.core.scripts import output


class OurError(Exception):
    pass


def test_a_timeout_is_raised_where_its_green_thread_waits() -> None:
    with pytest.raises(Timeout) as info, Timeout(0.001) as timeout:
        sleep(10)
    assert info.value is timeout


@pytest.mark.parametrize("seconds", [0, -1, 0.0005])
def test_it_is_raised_no_sooner_than_its_time_and_at_the_next_wait_at_the_latest(seconds: float) -> None:
    began = time.monotonic()
    with pytest.raises(Timeout), Timeout(seconds):
        sleep(10)
    assert seconds <= time.monotonic() - began < 5


def test_a_block_that_ends_in_time_cancels_it() -> None:
    with Timeout(0.001) as timeout:
        sleep(0)
        assert timeout.pending
    assert not timeout.pending
    sleep(0.002)


def test_none_never_fires() -> None:
    with Timeout(None) as timeout:
        sleep(0.001)
        assert not timeout.pending


def test_it_is_no_exception_that_code_under_it_would_swallow() -> None:
    assert not issubclass(Timeout, Exception)
    with pytest.raises(Timeout), Timeout(0.001):
        try:
            sleep(10)
        except Exception:  # noqa: BLE001 - that is what it must get through
            pytest.fail("it was swallowed")


@pytest.mark.parametrize("exception", [OurError, OurError("instance"), KeyboardInterrupt])
def test_another_exception_is_raised_in_its_place(exception: Any) -> None:
    kind = exception if isinstance(exception, type) else type(exception)
    with pytest.raises(kind) as info, Timeout(0.001, exception):
        sleep(10)
    assert exception in (info.value, type(info.value))


def test_false_ends_the_block_silently() -> None:
    reached = False
    with Timeout(0.001, False):
        sleep(10)
        reached = True
    assert not reached


def test_false_is_not_silent_about_another_timeout() -> None:
    with pytest.raises(Timeout) as info, Timeout(0.001) as outer, Timeout(10, False):
        sleep(10)
    assert info.value is outer


def test_true_is_as_none() -> None:
    with pytest.raises(Timeout), Timeout(0.001, True):
        sleep(10)


@pytest.mark.parametrize("wrong", ["text", 5, int, object()])
def test_what_is_no_exception_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="give an exception"):
        Timeout(1, wrong)


def test_nan_is_refused_and_nothing_counts_then(hub: Hub) -> None:
    before = len(hub.timers)
    with pytest.raises(ValueError, match="NaN"):
        Timeout(float("nan"))
    assert len(hub.timers) == before


def test_of_nested_ones_each_ends_its_own_block() -> None:
    ended = []
    try:
        with Timeout(0.01) as outer:
            try:
                with Timeout(0.001) as inner:
                    sleep(10)
            except Timeout as exc:
                ended.append(exc)
            sleep(10)
    except Timeout as exc:
        ended.append(exc)
    assert ended == [inner, outer]


def test_an_outer_one_that_comes_first_ends_both_blocks() -> None:
    with pytest.raises(Timeout) as info, Timeout(0.001) as outer, Timeout(10) as inner:
        sleep(10)
    assert info.value is outer
    assert not inner.pending


def test_it_counts_from_its_making_and_the_block_takes_it_as_it_is() -> None:
    timeout = Timeout(0.005)
    sleep(0.003)
    # Whoever comes first tells from when on it counts: the other one is due 2 ms later, or 1 ms earlier.
    with pytest.raises(Timeout) as info, Timeout(0.004), timeout:
        sleep(10)
    assert info.value is timeout


def test_one_that_was_cancelled_begins_anew_with_a_block() -> None:
    timeout = Timeout(0.001, False)
    timeout.cancel()
    timeout.cancel()
    sleep(0.002)
    for _ in range(2):
        with timeout:
            assert timeout.pending
            sleep(10)
            pytest.fail("it did not fire")
        assert not timeout.pending


def test_one_that_counts_can_not_be_started_again() -> None:
    with Timeout(1) as timeout, pytest.raises(RuntimeError, match="already started"):
        timeout.start()
    timeout.start()
    timeout.cancel()


def test_it_fires_in_the_green_thread_that_made_it() -> None:
    def park() -> str:
        try:
            with Timeout(0.001):
                queue.wait()
        except Timeout:
            return "fired"
        return "woken"

    queue = WaitQueue()
    threads = [spawn(park) for _ in range(3)]
    assert [thread.wait() for thread in threads] == ["fired"] * 3
    assert len(queue) == 0


def test_one_of_a_green_thread_that_has_ended_does_nothing() -> None:
    spawn(Timeout, 0.001).wait()
    sleep(0.003)


def test_a_wake_up_in_the_same_round_does_not_resume_it_elsewhere(hub: Hub) -> None:
    """The timer and the wake-up fire in one round, in either order: the second of them finds nobody."""
    for wake_first in (True, False):
        queue = WaitQueue()
        slept: list[float] = []

        def park() -> None:
            try:
                with Timeout(0.001):
                    queue.wait()  # noqa: B023 - it runs in this round of the loop
            except Timeout:
                pass
            began = time.monotonic()
            sleep(0.005)
            slept.append(time.monotonic() - began)  # noqa: B023 - as above

        thread = spawn(park)
        sleep(0)
        if wake_first:
            queue.wake()
        else:
            hub.call_later(0.001, queue.wake)
        due = time.monotonic() + 0.002
        while time.monotonic() < due:
            pass
        thread.wait()
        assert slept[0] >= 0.005


def test_cancelled_ones_do_not_pile_up(hub: Hub) -> None:
    for _ in range(1000):
        with Timeout(3600):
            pass
    assert len(hub.timers.heap) < 200


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((None,), ""),
        ((1,), "1 second"),
        ((0.5,), "0.5 seconds"),
        ((3, False), "3 seconds"),
        ((3, OurError), f"3 seconds ({OurError!r})"),
    ],
)
def test_it_says_how_long_it_was(args: tuple[Any, ...], text: str) -> None:
    timeout = Timeout(*args)
    timeout.cancel()
    assert str(timeout) == text


def test_a_callback_of_the_hub_can_not_have_one(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.call_soon(Timeout, 1)
    sleep(0)
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [HubError]


def test_a_subclass_is_raised_as_itself() -> None:
    class Ours(Timeout):
        pass

    with pytest.raises(Ours), Ours(0.001):
        sleep(10)


# with_timeout --------------------------------------------------------------------------------------------------------


def test_with_timeout_returns_what_the_function_does_in_time() -> None:
    def both(*args: Any, **kwargs: Any) -> Any:
        sleep(0)
        return args, kwargs

    assert with_timeout(10, both, 1, function=2, timeout_value=3) == ((1,), {"function": 2})


def test_with_timeout_returns_the_value_for_a_function_that_takes_too_long() -> None:
    for value in (None, 0, "late"):
        assert with_timeout(0.001, sleep, 10, timeout_value=value) is value


def test_with_timeout_raises_without_a_value() -> None:
    with pytest.raises(Timeout):
        with_timeout(0.001, sleep, 10)


def test_with_timeout_lets_other_timeouts_through() -> None:
    with pytest.raises(Timeout) as info, Timeout(0.001) as outer:
        with_timeout(10, sleep, 10, timeout_value="late")
    assert info.value is outer


@pytest.mark.parametrize("seconds", [None, 10])
def test_with_timeout_leaves_nothing_that_counts(seconds: Any, hub: Hub) -> None:
    before = len(hub.timers)
    with pytest.raises(OurError):
        with_timeout(seconds, fail)
    assert len(hub.timers) == before


def fail() -> None:
    raise OurError


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (Timeout, True),
        (TimeoutError, True),
        (lambda: OSError("timed out"), False),
        (lambda: "text", False),
        (type("Theirs", (Exception,), {"is_timeout": True}), True),
    ],
)
def test_is_timeout_knows_what_means_that_it_took_too_long(make: Callable[[], object], expected: bool) -> None:
    assert is_timeout(make()) is expected


def test_a_signal_handler_inside_the_poll_can_not_have_one() -> None:
    assert output("""
        import signal
        from greenserve.core import Timeout, get_hub, getcurrent, sleep
        from greenserve.errors import HubError
        def handle(*args):
            if getcurrent() is get_hub().greenlet:  # a slow machine may not be there yet
                signal.setitimer(signal.ITIMER_REAL, 0)
                Timeout(1)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            sleep(10)
        except HubError as exc:
            print(exc)
    """) == ["a Timeout needs a green thread that waits; neither the hub nor a signal handler in it does"]
