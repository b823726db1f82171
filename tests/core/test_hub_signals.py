"""Signals and the hub. Handlers belong to the process: each script is one."""

from __future__ import annotations

from tests.core.scripts import output, run

# What a handler that wakes somebody may do, when main waits for `queue`.
ACTIONS = {
    "wake": "queue.wake()",
    "spawn": "spawn(queue.wake)",
    "spawn_n": "spawn_n(queue.wake)",
    "spawn_after": "spawn_after(0.01, queue.wake)",
    "call_soon": "get_hub().call_soon(queue.wake)",
    "call_later": "get_hub().call_later(0.01, queue.wake)",
    "kill": "sleeper.kill()",
}

WAIT = """
import os, signal, threading, time
from greenserve.core import get_hub, kill, sleep, spawn, spawn_after, spawn_n
from greenserve.core.waiters import WaitQueue

queue = WaitQueue()
sleeper = spawn(sleep, 60)
sleeper.link(lambda thread: queue.wake())
get_hub()
{before}

def handler(*args):
    global handled
    handled = time.monotonic() - sent
    {action}

signal.signal(signal.SIGUSR1, handler)
handled = None

def send():
    global sent
    while not hub._polling:
        time.sleep(0)
    sent = time.monotonic()
    {send}

hub = get_hub()
threading.Thread(target=send).start()
queue.wait(10)
took = time.monotonic() - sent
print("promptly" if handled < 2 and took < 2 else (handled, took))
"""

BLOCKED = (
    "a callback of the hub or a signal handler can't block: "
    "do the work in a green thread of its own, greenserve.spawn(function)"
)

TO_PROCESS = "os.kill(os.getpid(), signal.SIGUSR1)"
# Without the wake-up fd a signal that comes just before the poll is handled after it: CPython's own gap.
UNTIL_HANDLED = """
    while handled is None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0)
"""
TO_SENDER = "signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)"
TAKE_WAKEUP_FD = """
reader, writer = os.pipe()
os.set_blocking(writer, False)
signal.set_wakeup_fd(writer)
"""


def test_what_a_handler_schedules_breaks_the_poll() -> None:
    for action in ACTIONS.values():
        assert output(WAIT.format(before="", action=action, send=TO_PROCESS)) == ["promptly"]


def test_what_a_handler_schedules_breaks_the_poll_even_if_somebody_else_has_the_wakeup_fd() -> None:
    for action in ACTIONS.values():
        assert output(WAIT.format(before=TAKE_WAKEUP_FD, action=action, send=UNTIL_HANDLED)) == ["promptly"]


def test_a_signal_that_another_os_thread_received_is_handled_at_once() -> None:
    assert output(WAIT.format(before="", action="queue.wake()", send=TO_SENDER)) == ["promptly"]


def test_a_signal_from_another_process_is_handled_at_once() -> None:
    send = 'os.system(f"kill -USR1 {os.getpid()}")'
    assert output(WAIT.format(before="", action="queue.wake()", send=send)) == ["promptly"]


def test_what_a_handler_raises_is_raised_in_main_where_it_is_parked_and_the_others_go_on() -> None:
    assert output("""
        import signal
        from greenserve.core import sleep, spawn

        class Enough(Exception):
            pass

        class EnoughOfAll(BaseException):
            pass

        def other():
            sleep(0.2)
            return "the other went on"

        thread = spawn(other)
        for exception in (Enough, EnoughOfAll, KeyboardInterrupt, SystemExit, TimeoutError):
            def handler(*args):
                raise exception("from the handler")
            signal.signal(signal.SIGALRM, handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                sleep(60)
            except exception as exc:
                print(type(exc).__name__, exc)
        print(thread.wait())
    """) == [
        "Enough from the handler",
        "EnoughOfAll from the handler",
        "KeyboardInterrupt from the handler",
        "SystemExit from the handler",
        "TimeoutError from the handler",
        "the other went on",
    ]


def test_ctrl_c_reaches_main_where_it_is_parked_and_main_can_go_on() -> None:
    assert output("""
        import os, signal, threading, time
        from greenserve.core import sleep, spawn
        from greenserve.core.waiters import WaitQueue

        def other():
            queue.wait()
            return "the other went on"

        queue = WaitQueue()
        thread = spawn(other)
        for _ in range(5):
            try:
                threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
                sleep(60)
            except KeyboardInterrupt:
                print("KeyboardInterrupt")
        queue.wake()
        print(thread.wait())
    """) == ["KeyboardInterrupt"] * 5 + ["the other went on"]


def test_ctrl_c_that_nobody_catches_ends_the_program_as_it_always_does() -> None:
    done = run("""
        import os, signal
        from greenserve.core import sleep, spawn_after
        spawn_after(0.01, os.kill, os.getpid(), signal.SIGINT)
        sleep(60)
    """)
    assert done.returncode == -2
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert "greenserve" not in done.stdout


def test_no_wake_up_is_lost_to_handlers_that_raise_in_the_hub() -> None:
    lines = output("""
        import signal, time
        from greenlet import getcurrent
        from greenserve.core import get_hub, sleep, spawn
        from greenserve.core.waiters import WaitQueue

        class Tick(Exception):
            pass

        hub = get_hub()

        def handler(*args):
            # Anywhere else it would interrupt whoever runs, as it always does.
            if getcurrent() is hub.greenlet:
                raise Tick
            tick_soon()

        def tick_soon():
            signal.setitimer(signal.ITIMER_REAL, 0.0003)

        def switch(end):
            while time.monotonic() < end:
                sleep(0)
            return 1

        def sleep_a_little(end):
            while time.monotonic() < end:
                sleep(0.0001)
            return 1

        def hand_over(mine, other, end):
            while time.monotonic() < end:
                other.wake()
                mine.wait(0.001)
            return 1

        def poke(end):
            while time.monotonic() < end:
                hub._poke()
                sleep(0)
            return 1

        ticks = 0
        end = time.monotonic() + 1.5
        queues = [WaitQueue(), WaitQueue()]
        threads = [spawn(switch, end) for _ in range(4)] + [spawn(sleep_a_little, end) for _ in range(4)]
        threads += [spawn(hand_over, queues[0], queues[1], end), spawn(hand_over, queues[1], queues[0], end)]
        threads += [spawn(poke, end)]
        signal.signal(signal.SIGALRM, handler)
        tick_soon()
        while time.monotonic() < end:
            try:
                sleep(0.01)
            except Tick:
                ticks += 1
                tick_soon()
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        print(sum(thread.wait(5) for thread in threads), ticks > 10)
    """)
    assert lines == ["11 True"]


def test_a_handler_that_blocks_inside_the_poll_gets_an_error_that_says_what_to_do() -> None:
    assert output("""
        import signal
        from greenserve.core import sleep
        from greenserve.errors import HubError

        signal.signal(signal.SIGALRM, lambda *args: sleep(1))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)  # again, should the first come before the poll
            sleep(60)
        except HubError as exc:
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(exc)
    """) == [BLOCKED]


def test_a_handler_that_interrupts_a_green_thread_may_wait_there() -> None:
    assert output("""
        import signal, time
        from greenserve.core import sleep, spawn

        handled = []

        def handler(*args):
            sleep(0.01)
            handled.append(1)

        def compute():
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            while not handled:
                time.monotonic()
            return "computed"

        signal.signal(signal.SIGALRM, handler)
        print(spawn(compute).wait())
    """) == ["computed"]


def test_the_wakeup_fd_is_taken_only_where_nobody_has_it_and_given_back() -> None:
    assert output("""
        import os, signal, socket
        from greenserve.core import get_hub, sleep, use_hub

        pair = socket.socketpair()
        pair[1].setblocking(False)
        theirs = pair[1].fileno()

        signal.set_wakeup_fd(theirs)
        get_hub()
        print(signal.set_wakeup_fd(-1) == theirs)  # it was left to them

        use_hub("select")
        ours = signal.set_wakeup_fd(theirs)
        print(ours not in (-1, theirs))  # nobody had it
        get_hub().close()
        print(signal.set_wakeup_fd(-1) == theirs)  # they have taken it since, and keep it

        use_hub("select")
        get_hub().close()
        print(signal.set_wakeup_fd(-1))
        for sock in pair:
            sock.close()
    """) == ["True", "True", "True", "-1"]


def test_asyncio_gets_its_signals_in_a_program_that_has_a_hub() -> None:
    assert output("""
        import asyncio, os, signal, threading
        from greenserve.core import sleep

        async def main():
            got = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
            sleep(0.001)  # the hub polls, and leaves the place to asyncio
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            await asyncio.wait_for(got.wait(), 10)
            print("asyncio got it")

        sleep(0)
        asyncio.run(main())

        def handler(*args):
            raise OSError("the hub got it")

        signal.signal(signal.SIGUSR1, handler)
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            sleep(60)
        except OSError as exc:
            print(exc)
    """) == ["asyncio got it", "the hub got it"]
