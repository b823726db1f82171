"""The hub and OS threads: waking it from outside, and what is left when its thread ends."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from greenlet import greenlet

from greenserve.core import GreenletExit, GreenThread, Hub, get_hub, sleep, spawn, spawn_n
from greenserve.core.hub import has_hub
from greenserve.core.waiters import NativeWaiter, WaitQueue, new_waiter, wait_readable, wait_writable
from greenserve.errors import ClosedWhileWaiting
from tests.core.scripts import output
from tests.sync.threads import HubThread, OSThread, frequent_thread_switches, until


def open_fds() -> int:
    return len(os.listdir("/dev/fd"))


def count(kind: type) -> int:
    gc.collect()
    return sum(issubclass(type(found), kind) for found in gc.get_objects())


# Waking from outside -------------------------------------------------------------------------------------------------


def test_a_sleeping_hub_is_woken_by_another_os_thread_promptly() -> None:
    def be_called() -> float:
        hub = get_hub()
        queue = WaitQueue()
        waiter = queue.enter()
        call = hub.call_soon_threadsafe
        called: list[float] = []

        def call_when_it_polls() -> None:
            until_polling(hub)
            called.append(time.monotonic())
            call(queue.wake)

        thread = OSThread(call_when_it_polls)
        assert queue.finish(waiter, 10)
        took = time.monotonic() - called[0]
        thread.wait()
        return took

    assert OSThread(be_called).wait() < 2


def until_polling(hub: Hub) -> None:
    while not hub._polling:
        time.sleep(0)


def test_no_call_from_another_os_thread_is_lost() -> None:
    """The hub has nothing else to do: a call that gets lost leaves it asleep, and the caller without its answer."""
    rounds = 2000

    def be_called() -> bool:
        call = get_hub().call_soon_threadsafe
        queue = WaitQueue()
        waiter = queue.enter()
        left = [1, 2]

        def send() -> None:
            answered = threading.Lock()
            answered.acquire()
            for _ in range(rounds):
                call(answered.release)
                assert answered.acquire(timeout=10), "a call was lost"
            call(finish)

        def finish() -> None:
            left.pop()
            if not left:
                queue.wake()

        senders = [OSThread(send) for _ in left]
        is_done = queue.finish(waiter, 30)
        for sender in senders:
            sender.wait()
        return is_done

    with frequent_thread_switches():
        assert OSThread(be_called).wait()


def test_two_hubs_that_wake_each_other_lose_nothing() -> None:
    rounds = 3000
    mine, theirs = WaitQueue(), WaitQueue()
    turns = [0, 0]

    def answer() -> None:
        for number in range(rounds):
            waiter = theirs.enter()
            if turns[0] <= number:
                assert theirs.finish(waiter, 10)
            else:
                theirs.leave(waiter)
            turns[1] = number + 1
            mine.wake()

    with frequent_thread_switches():
        other = HubThread(answer)
        for number in range(rounds):
            turns[0] = number + 1
            theirs.wake()
            waiter = mine.enter()
            if turns[1] <= number:
                assert mine.finish(waiter, 10)
            else:
                mine.leave(waiter)
        other.wait()
    assert turns == [rounds, rounds]


class Nudge(GreenletExit):
    pass


def test_wake_ups_timeouts_and_kills_from_all_sides_leave_every_wait_with_one_answer() -> None:
    """Each wait ends once, by one of the three; and none of them reaches the green thread in its next wait."""
    queue = WaitQueue()
    answers: list[str] = []
    strays: list[str] = []
    threads: list[GreenThread[None]] = []
    ended = threading.Event()

    def wait_again_and_again() -> None:
        for number in range(150):
            try:
                answers.append("woken" if queue.wait(0.0005 * (number % 3)) else "timed out")
            except Nudge:
                answers.append("killed")
            try:
                before = time.monotonic()
                sleep(0.0005)
                if time.monotonic() - before < 0.0005:
                    strays.append("resumed too early")
            except Nudge:
                pass

    def host() -> None:
        threads.extend([spawn(wait_again_and_again) for _ in range(6)])
        try:
            for thread in threads:
                thread.wait(30)
        finally:
            ended.set()

    def wake() -> None:
        while not ended.wait(0.0002):
            queue.wake()

    def nudge() -> None:
        while not ended.wait(0.0007):
            for thread in threads[::2]:
                thread.kill(Nudge)

    with frequent_thread_switches():
        others = [HubThread(host), OSThread(wake), HubThread(wake), OSThread(nudge)]
        for other in others:
            other.wait()
    assert (strays, len(queue)) == ([], 0)
    assert len(answers) == 6 * 150
    assert set(answers) == {"woken", "timed out", "killed"}


def test_closing_from_another_os_thread_always_reaches_who_waits_or_is_about_to() -> None:
    def race() -> None:
        hub = get_hub()
        for _ in range(300):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                source = hub.poller.source(ours.fileno())
                closer = OSThread(lambda source=source: hub.close_source(source))
                with pytest.raises(ClosedWhileWaiting):
                    while True:
                        wait_readable(source, 10)
                        raise AssertionError("nobody told the one that waits")
                closer.wait()

    with frequent_thread_switches():
        HubThread(race).wait()


def test_a_source_that_others_close_while_it_is_used_never_leaves_a_stray_exception() -> None:
    """Who has gone on by itself, at the moment of the close, is not reached by it in its next wait."""

    def race() -> None:
        hub = get_hub()
        for _ in range(300):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                source = hub.poller.source(ours.fileno())
                closer = OSThread(lambda source=source: hub.close_source(source))
                try:
                    wait_writable(source, 10)  # it is writable: both come at once
                except ClosedWhileWaiting:
                    pass
                sleep(0)
                sleep(0)
                closer.wait()
                sleep(0)

    with frequent_thread_switches():
        HubThread(race).wait()


def test_a_green_thread_is_waited_for_and_killed_from_other_os_threads() -> None:
    ready = threading.Event()
    threads: list[GreenThread[str]] = []

    def park() -> str:
        ready.set()
        sleep(60)
        return "slept"

    def work() -> None:
        threads.append(spawn(park))
        with pytest.raises(GreenletExit):
            threads[0].wait()

    host = HubThread(work)
    until(ready.is_set)

    def wait_for_it() -> str:
        try:
            return threads[0].wait(10)
        except GreenletExit:
            return "was killed"

    waiting = [OSThread(wait_for_it), HubThread(wait_for_it)]
    OSThread(threads[0].kill).wait()
    assert [thread.wait() for thread in waiting] == ["was killed"] * 2
    host.wait()


def test_killing_from_an_os_thread_without_a_hub_makes_none() -> None:
    thread = spawn(sleep, 60)
    sleep(0)

    def kill() -> bool:
        thread.kill()
        return has_hub()

    assert OSThread(kill).wait() is False
    with pytest.raises(GreenletExit):
        thread.wait(10)


def test_one_that_has_not_started_is_killed_from_another_os_thread_and_never_runs() -> None:
    ran: list[int] = []
    thread = spawn(ran.append, 1)
    killer = threading.Thread(target=thread.kill)
    killer.start()
    killer.join()
    with pytest.raises(GreenletExit):
        thread.wait(10)
    assert ran == []


def test_an_os_thread_without_a_hub_waits_in_the_system() -> None:
    def look() -> tuple[bool, bool]:
        return isinstance(new_waiter(), NativeWaiter), has_hub()

    assert OSThread(look).wait() == (True, False)
    assert not isinstance(new_waiter(), NativeWaiter)


# Its thread's end ----------------------------------------------------------------------------------------------------


def use_the_hub() -> None:
    spawn(sleep, 0).wait()


def leave_green_threads_parked() -> None:
    queue = WaitQueue()
    ours, theirs = socket.socketpair()

    def read() -> None:
        with ours, theirs:
            wait_readable(get_hub().poller.source(ours.fileno()))

    spawn(sleep, 60)
    spawn(queue.wait)
    spawn(queue.wait, 60)
    spawn(read)
    spawn_n(sleep, 60)
    sleep(0)
    spawn(sleep)
    spawn_n(sleep)
    get_hub().call_later(60, int)
    get_hub().call_soon(int)


def fail() -> None:
    try:
        spawn(int, "x").wait()
    except ValueError:
        pass


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("work", [use_the_hub, leave_green_threads_parked, fail, get_hub])
def test_many_short_lived_os_threads_leave_no_fd_no_hub_and_no_greenlet(work: Callable[[], Any]) -> None:
    OSThread(work).wait()
    before = what_there_is()
    for _ in range(30):
        OSThread(work).wait()
    # A thread's own greenlet goes a moment after the thread has been joined.
    until(lambda: all(now <= then for now, then in zip(what_there_is(), before, strict=True)))


def what_there_is() -> tuple[int, int, int]:
    return open_fds(), count(Hub), count(greenlet)


def test_green_threads_still_parked_at_the_end_of_their_os_thread_are_killed() -> None:
    ended: list[str] = []

    def park(name: str, wait: Callable[..., Any], *args: Any) -> None:
        try:
            wait(*args)
        finally:
            ended.append(name)

    def work() -> list[GreenThread[None]]:
        threads = [spawn(park, "sleeper", sleep, 60), spawn(park, "waiter", WaitQueue().wait)]
        sleep(0)
        threads.append(spawn(park, "never started", sleep))
        return threads

    threads = OSThread(work).wait()
    assert sorted(ended) == ["sleeper", "waiter"]
    for thread in threads:
        with pytest.raises(GreenletExit):
            thread.wait(1)


def test_who_waits_in_another_os_thread_for_one_that_is_killed_so_is_told() -> None:
    begun = threading.Event()
    threads: list[GreenThread[None]] = []
    goes_on = threading.Event()

    def work() -> None:
        threads.append(spawn(sleep, 60))
        sleep(0)
        begun.set()
        goes_on.wait()

    host = OSThread(work)
    until(begun.is_set)
    waiting = spawn(threads[0].wait, 30)
    sleep(0)
    goes_on.set()
    host.wait()
    with pytest.raises(GreenletExit):
        waiting.wait(10)


def test_a_wake_up_is_not_spent_on_an_os_thread_that_has_ended() -> None:
    queue = WaitQueue()

    def work() -> None:
        spawn(queue.wait)
        sleep(0)
        waiting.append(queue[0])

    waiting: list[Any] = []
    OSThread(work).wait()
    queue.appendleft(waiting[0])  # as if its end had come before it could leave
    survivor = spawn(queue.wait)
    sleep(0)
    assert queue.wake()
    assert survivor.wait(5) is True


def test_finally_blocks_that_wait_at_the_end_of_their_os_thread_get_an_error() -> None:
    errors: list[BaseException] = []

    def park() -> None:
        try:
            sleep(60)
        finally:
            try:
                sleep(1)
            except BaseException as exc:  # noqa: BLE001 - that is the question
                errors.append(exc)

    def work() -> None:
        spawn(park)
        sleep(0)

    OSThread(work).wait()
    assert [str(exc) for exc in errors] == ["this OS thread's hub is closed: nobody could wake who waits here"]


def test_objects_held_by_parked_green_threads_are_freed_at_the_end_of_their_os_thread() -> None:
    class Thing:
        pass

    def work() -> weakref.ref[Thing]:
        thing = Thing()
        spawn(lambda thing: sleep(60), thing)
        sleep(0)
        return weakref.ref(thing)

    thing = OSThread(work).wait()
    gc.collect()
    assert thing() is None


def test_the_hubs_of_daemon_threads_stand_still_while_the_interpreter_ends() -> None:
    # One that ran on would be ended below its greenlets, by which CPython crashes now and then.
    assert output("""
        import atexit, threading, time
        def count():
            before = len(ticks)
            time.sleep(0.05)
            print(len(ticks) - before)

        atexit.register(count)  # before the core's: it runs after that
        import greenserve.core as core

        def tick(ticked):
            while True:
                core.sleep(0.0005)
                ticks.append(core.get_hub())
                ticked.set()

        def work(ticked):
            core.spawn(tick, ticked)
            tick(ticked)

        ticks = []
        for _ in range(3):
            ticked = threading.Event()
            threading.Thread(target=work, args=(ticked,), daemon=True).start()
            ticked.wait()
        print(len(set(ticks)))
    """) == ["3", "0"]


def test_a_daemon_thread_that_never_comes_back_to_its_hub_holds_up_the_end_for_a_moment_only() -> None:
    assert output("""
        import atexit, threading, time
        atexit.register(lambda: print(time.monotonic() - began[0] < 5))
        import greenserve.core as core

        def work():
            core.sleep(0)
            has_slept.set()
            threading.Event().wait()

        has_slept = threading.Event()
        threading.Thread(target=work, daemon=True).start()
        has_slept.wait()
        began = [time.monotonic()]
    """) == ["True"]


def test_the_end_of_a_process_with_parked_green_threads_is_silent() -> None:
    assert output("""
        import os, socket, threading
        import greenserve.core as core
        from greenserve.core.waiters import WaitQueue, wait_readable

        class Noisy:
            def __del__(self):
                core.sleep(0)

        def park(wait, *args):
            noisy = Noisy()
            try:
                wait(*args)
            finally:
                print("finally")

        def read():
            reader, writer = os.pipe()
            wait_readable(core.get_hub().poller.source(reader))

        def work():
            threads.append(core.spawn(park, core.sleep, 60))
            core.sleep(60)

        threads = [core.spawn(park, core.sleep, 60), core.spawn(park, WaitQueue().wait), core.spawn(park, read)]
        threads.append(core.spawn_n(park, WaitQueue().wait))
        threading.Thread(target=work, daemon=True).start()
        core.sleep(0.02)
        threads.append(core.spawn(park, core.sleep))
        core.spawn_after(0, print, "never")
        core.get_hub().call_soon(print, "never")
        local = core.local()
        local.thread = threads
        print("end")
    """) == ["end"]
