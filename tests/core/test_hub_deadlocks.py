"""When nothing is left that could wake the main greenlet. Each script is a process: pytest has threads of its own."""

from __future__ import annotations

import signal

import pytest

from tests.core.scripts import output, run


def test_a_deadlock_is_an_error_that_lists_who_waits_on_what() -> None:
    lines = output("""
        from greenserve.core import spawn
        from greenserve.core.waiters import WaitQueue
        from greenserve.errors import DeadlockError

        def eat():
            forks.wait()

        def main():
            forks.wait()

        forks = WaitQueue()
        spawn(eat)
        try:
            main()
        except DeadlockError as exc:
            print(exc)
    """)
    assert lines[:2] == [
        "nothing is left that could wake the main greenlet: no timer, no fd, no other thread.",
        "Parked:",
    ]
    assert sorted(line.split(" waits at ")[1] for line in lines[2:]) == ["<string>:10 in main", "<string>:7 in eat"]


def test_main_can_catch_a_deadlock_and_go_on_and_so_can_the_others() -> None:
    assert output("""
        from greenserve.core import sleep, spawn
        from greenserve.core.waiters import WaitQueue
        from greenserve.errors import DeadlockError

        def other():
            queue.wait()
            print("other was woken")

        queue = WaitQueue()
        thread = spawn(other)
        for _ in range(3):
            try:
                WaitQueue().wait()
            except DeadlockError:
                print("caught")
        queue.wake()
        thread.wait()
        sleep(0.001)
        print("done")
    """) == ["caught"] * 3 + ["other was woken", "done"]


def test_a_deadlock_that_nobody_catches_ends_the_program() -> None:
    done = run("""
        from greenserve.core.waiters import WaitQueue
        WaitQueue().wait()
    """)
    assert done.returncode == 1
    assert "greenserve.errors.DeadlockError: nothing is left" in done.stderr


def test_who_waits_in_a_queue_leaves_it_when_a_deadlock_is_raised() -> None:
    assert output("""
        from greenserve.core.waiters import WaitQueue
        from greenserve.errors import DeadlockError

        queue = WaitQueue()
        try:
            queue.wait()
        except DeadlockError:
            print(len(queue))
    """) == ["0"]


START = {
    "a native thread": """
        import threading, time
        def work():
            time.sleep(0.1)  # longer than a deadlock would take to be found
            queue.wake()
        threading.Thread(target=work).start()
    """,
    "a native thread that has not run yet": """
        import _thread
        _thread.start_new_thread(queue.wake, ())
    """,
    "a handler written in Python": """
        import signal
        signal.signal(signal.SIGALRM, lambda *args: queue.wake())
        signal.setitimer(signal.ITIMER_REAL, 0.1)
    """,
    "a timer": """
        get_hub().call_later(0.1, queue.wake)
    """,
    "a green thread that sleeps": """
        spawn_after(0.1, queue.wake)
    """,
    "a wait with a timeout": """
        from greenserve.core import Timeout
        spawn(WaitQueue().wait, 0.1).link(lambda thread: queue.wake())
    """,
    "a green thread that waits on an fd": """
        import os, subprocess
        from greenserve.core.waiters import wait_readable
        reader, writer = os.pipe()
        child = subprocess.Popen(["sh", "-c", f"sleep 0.1; echo >&{writer}"], pass_fds=[writer])
        def read():
            wait_readable(get_hub().poller.source(reader))
            child.wait()
            queue.wake()
        spawn(read)
    """,
}


@pytest.mark.parametrize("who", START)
def test_it_is_no_deadlock_while_there_is(who: str) -> None:
    start = "\n".join(line[8:] for line in START[who].splitlines())
    script = f"""
from greenserve.core import get_hub, spawn, spawn_after
from greenserve.core.waiters import WaitQueue

queue = WaitQueue()
waiter = queue.enter()
{start}
queue.finish(waiter)
print("woken")
"""
    assert output(script) == ["woken"]


def test_it_is_no_deadlock_once_somebody_has_asked_for_call_soon_threadsafe() -> None:
    done = run("""
        import signal
        from greenserve.core import get_hub
        from greenserve.core.waiters import WaitQueue

        call = get_hub().call_soon_threadsafe
        signal.setitimer(signal.ITIMER_REAL, 0.2)  # no handler: this ends the process
        WaitQueue().wait()
    """)
    assert (done.returncode, done.stderr) == (-signal.SIGALRM, "")


def test_the_handler_of_ctrl_c_that_python_has_by_itself_wakes_nobody() -> None:
    assert output("""
        import signal
        from greenserve.core.waiters import WaitQueue
        from greenserve.errors import DeadlockError

        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            WaitQueue().wait()
        except DeadlockError:
            print("deadlock")
    """) == ["deadlock"]


def test_a_thread_beside_the_main_one_can_always_be_woken() -> None:
    assert output("""
        import threading, time
        from greenserve.core import spawn
        from greenserve.core.waiters import WaitQueue

        queue = WaitQueue()

        def work():
            spawn(queue.wait).wait()
            print("woken")

        thread = threading.Thread(target=work)
        thread.start()
        while not queue:
            time.sleep(0)
        time.sleep(0.2)  # longer than a deadlock would take to be found
        queue.wake()
        thread.join()
    """) == ["woken"]
