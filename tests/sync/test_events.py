from __future__ import annotations

import gc
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from greenserve import Event, GreenletExit, get_hub, spawn
from greenserve.errors import EventError, HubError
from tests.sync.threads import (
    HubThread,
    OSThread,
    frequent_thread_switches,
    in_another_os_thread,
    in_any_thread,
    let_run,
    run_in_new_process,
    until,
)


class OurError(Exception):
    pass


def waiting(event: Event[Any]) -> int:
    return len(event._round.queue)


@pytest.mark.parametrize("result", [None, 0, "text", (1, 2)])
def test_whoever_waits_before_or_after_gets_what_was_sent(result: Any) -> None:
    event: Event[Any] = Event()
    waiters = [spawn(event.wait) for _ in range(3)]
    let_run()
    event.send(result)
    assert [waiter.wait() for waiter in waiters] == [result] * 3
    assert event.wait() == result


def test_those_who_wait_are_woken_in_the_order_in_which_they_came() -> None:
    event: Event[None] = Event()
    order: list[int] = []

    def wait(number: int) -> None:
        event.wait()
        order.append(number)

    waiters = [spawn(wait, number) for number in range(5)]
    let_run()
    event.send()
    for waiter in waiters:
        waiter.wait()
    assert order == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((OurError("why"),), "why"),
        ((OurError, "why"), "why"),
        ((OurError, OurError("why")), "why"),
        ((OurError("why"), None, None), "why"),
        ((OurError,), ""),
    ],
)
def test_whoever_waits_gets_the_exception_that_was_sent(args: tuple[Any, ...], text: str) -> None:
    for send in (lambda e: e.send_exception(*args), lambda e: e.send(None, args), lambda e: e.send(exc=args)):
        event: Event[None] = Event()
        send(event)
        for _ in range(2):
            with pytest.raises(OurError) as caught:
                event.wait()
            assert str(caught.value) == text


def test_an_exception_may_be_sent_as_it_is() -> None:
    event: Event[None] = Event()
    error = OurError("why")
    event.send(exc=error)
    with pytest.raises(OurError) as caught:
        event.wait()
    assert caught.value is error


@pytest.mark.parametrize("args", [(), ("text",), (int,), (None,)])
def test_what_is_no_exception_can_not_be_raised(args: tuple[Any, ...]) -> None:
    event: Event[None] = Event()
    with pytest.raises(TypeError, match="exception"):
        event.send_exception(*args)
    assert event.ready() is False


def test_an_event_is_sent_once() -> None:
    event: Event[int] = Event()
    event.send(1)
    with pytest.raises(EventError, match="already"):
        event.send(2)
    with pytest.raises(EventError, match="already"):
        event.send_exception(OurError)
    assert event.wait() == 1


def test_a_reset_makes_an_event_new() -> None:
    event: Event[int] = Event()
    event.send(1)
    event.reset()
    assert (event.ready(), event.wait(0)) == (False, None)
    event.send(2)
    assert event.wait() == 2


def test_an_event_that_was_not_sent_can_not_be_reset() -> None:
    event: Event[int] = Event()
    with pytest.raises(EventError, match="not been sent"):
        event.reset()


def test_those_who_waited_get_their_outcome_even_if_the_event_is_reset_before_they_run() -> None:
    event: Event[int] = Event()
    waiter = spawn(event.wait)
    let_run()
    event.send(1)
    event.reset()
    event.send(2)
    assert waiter.wait() == 1


@pytest.mark.parametrize(
    ("send", "ready", "has_result", "has_exception"),
    [
        (lambda event: None, False, False, False),
        (lambda event: event.send(), True, True, False),
        (lambda event: event.send_exception(OurError), True, False, True),
    ],
)
def test_an_event_tells_what_was_sent(
    send: Callable[[Event[None]], None], ready: bool, has_result: bool, has_exception: bool
) -> None:
    event: Event[None] = Event()
    send(event)
    assert (event.ready(), event.has_result(), event.has_exception()) == (ready, has_result, has_exception)


def test_polling_never_waits() -> None:
    event: Event[int] = Event()
    assert (event.poll(), event.poll(7), event.poll_result(8), event.poll_exception(9)) == (None, 7, 8, 9)
    event.send(1)
    assert (event.poll(7), event.poll_result(8), event.poll_exception(9)) == (1, 1, 9)
    event.reset()
    event.send_exception(OurError)
    assert event.poll_result(8) == 8
    for poll in (event.poll, event.poll_exception):
        with pytest.raises(OurError):
            poll()


@in_any_thread
def test_a_wait_ends_after_its_timeout_and_leaves_the_queue(start: Callable[..., Any]) -> None:
    event: Event[int] = Event()
    assert start(lambda: (event.wait(0), event.wait(0.01))).wait() == (None, None)
    assert waiting(event) == 0


def test_one_who_is_killed_leaves_the_queue() -> None:
    event: Event[int] = Event()
    victim, survivor = spawn(event.wait), spawn(event.wait)
    let_run()
    victim.kill()
    assert waiting(event) == 1
    event.send(1)
    assert survivor.wait() == 1
    with pytest.raises(GreenletExit):
        victim.wait()


def test_the_hub_may_send_but_not_wait() -> None:
    event: Event[str] = Event()
    errors: list[HubError] = []

    def wait_in_the_hub() -> None:
        try:
            event.wait()
        except HubError as exc:
            errors.append(exc)

    get_hub().call_soon(wait_in_the_hub)
    get_hub().call_soon(event.send, "from the hub")
    assert event.wait(5) == "from the hub"
    assert len(errors) == 1


@in_another_os_thread
def test_an_event_goes_from_any_os_thread_to_any_other(os_thread: type[OSThread[Any]]) -> None:
    event: Event[int] = Event()
    waiters = [os_thread(event.wait), spawn(event.wait), os_thread(event.wait)]
    until(lambda: waiting(event) == 3)
    sender = os_thread(lambda: event.send(5))
    assert [waiter.wait() for waiter in waiters] == [5, 5, 5]
    sender.wait()


def test_of_many_who_send_at_once_one_does_and_all_who_wait_get_that() -> None:
    with frequent_thread_switches():
        for _ in range(30):
            event: Event[int] = Event()
            gate = threading.Barrier(3)
            sent: list[int] = []

            def send(number: int, event: Event[int] = event, gate: threading.Barrier = gate, sent: Any = sent) -> None:
                gate.wait(10)
                try:
                    event.send(number)
                    sent.append(number)
                except EventError:
                    pass

            senders = [OSThread(lambda number=number, send=send: send(number)) for number in range(3)]
            waiters = [OSThread(event.wait), HubThread(event.wait), spawn(event.wait)]
            got = [waiter.wait() for waiter in waiters]
            for sender in senders:
                sender.wait()
            assert got == sent * 3


def test_an_event_does_not_live_on_in_the_exception_that_it_raised() -> None:
    gc.collect()
    gc.disable()
    try:
        event: Event[None] = Event()
        event.send_exception(OurError("why"))
        with pytest.raises(OurError):
            event.wait()
        gone = weakref.ref(event)
        del event
        assert gone() is None
    finally:
        gc.enable()


def test_an_exception_does_not_collect_the_frames_of_all_who_got_it() -> None:
    event: Event[None] = Event()
    event.send_exception(OurError("why"))
    lengths = []
    for _ in range(3):
        try:
            event.wait()
        except OurError as exc:
            lengths.append(len(traceback.extract_tb(exc.__traceback__)))
    assert lengths[0] == lengths[1] == lengths[2]


def test_a_signal_handler_may_send() -> None:
    script = """
import os, signal, threading
from greenserve import Event
event = Event()
signal.signal(signal.SIGUSR1, lambda number, frame: event.send(number == signal.SIGUSR1))
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
print(event.wait(10))
"""
    assert run_in_new_process(script) == "True\n"
