"""What a forked child finds. Each script is a process: pytest must not go on in two."""

from __future__ import annotations

import pytest

from tests.core.scripts import output

COMMON = """
import os, signal, sys, threading, time, warnings
from greenlet import getcurrent
from greenserve.core import Timeout, get_hub, kill, sleep, spawn, spawn_after, spawn_n, use_hub
from greenserve.core.hub import has_hub, in_main_thread
from greenserve.core.waiters import WaitQueue, wait_readable
from greenserve.errors import DeadlockError, HubError

PARENT = os.getpid()

# Python warns of what is tested here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def end_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

EVERYTHING_WORKS = """
    ours, theirs = os.pipe()
    spawn_after(0.001, os.write, theirs, b"x")
    with Timeout(10):
        wait_readable(get_hub().poller.source(ours))
    threading.Thread(target=get_hub().call_soon_threadsafe, args=(queue.wake,)).start()
    WaitQueue().wait(0.001)
    signal.signal(signal.SIGALRM, lambda *args: spawn(queue.wake))
    waiter = queue.enter()
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    queue.finish(waiter, 10)
    say(spawn(lambda: "everything works").wait())
"""


INDENTED = EVERYTHING_WORKS.replace("\n    ", "\n        ")


def test_main_goes_on_in_the_child_with_a_hub_that_works() -> None:
    lines = output(f"""{COMMON}
queue = WaitQueue()
spawn(sleep, 60)
sleep(0)
pid = os.fork()
if not pid:
{EVERYTHING_WORKS}
    say("child ends")
else:
    say("status", end_of(pid))
{EVERYTHING_WORKS}
""")
    assert lines == ["everything works", "child ends", "status 0", "everything works"]


def test_a_green_thread_that_forks_is_main_in_the_child() -> None:
    lines = output(f"""{COMMON}
queue = WaitQueue()

def work():
    pid = os.fork()
    if not pid:
        say(get_hub().main is getcurrent(), getcurrent().dead)
{INDENTED}
        get_hub().call_soon(get_hub().throw_in_main, OSError("in the child's main"))
        try:
            sleep(10)
        except OSError as exc:
            say(exc)
        return "the child's result goes nowhere"
    return end_of(pid)

say("status", spawn(work).wait())
say("the parent goes on")
""")
    assert lines == [
        "True False",
        "everything works",
        "in the child's main",
        "status 0",
        "the parent goes on",
    ]


def test_a_deadlock_in_the_child_is_told_to_the_green_thread_that_forked() -> None:
    assert output(f"""{COMMON}
def work():
    pid = os.fork()
    if not pid:
        try:
            WaitQueue().wait()
        except DeadlockError as exc:
            say(str(exc).splitlines()[0])
        return
    end_of(pid)

spawn(sleep, 0.5)
spawn(work).wait()
""") == ["nothing is left that could wake the main greenlet: no timer, no fd, no other thread."]


ENDS = [
    ("return", 0),
    ("sys.exit()", 0),
    ("sys.exit(3)", 3),
    ("sys.exit(True)", 1),
    ("raise KeyError('logged at the edge, as ever')", 0),
    ("getcurrent().kill()", 0),
    ("spawn(getcurrent().kill).wait()", 0),
    ("os._exit(7)", 7),
]


@pytest.mark.parametrize("start", ["spawn", "spawn_n", "get_hub().call_soon"])
@pytest.mark.parametrize(("end", "status"), ENDS)
def test_the_process_ends_when_what_forked_ends(start: str, end: str, status: int) -> None:
    if start != "spawn" and "getcurrent" in end:
        pytest.skip("only a GreenThread has kill()")
    lines = output(f"""{COMMON}
import logging
logging.getLogger("greenserve.core").addHandler(logging.NullHandler())
logging.getLogger("greenserve.core").propagate = False

def work():
    global pid
    pid = os.fork()
    if not pid:
        spawn_after(0.5, say, "never said, the child has ended before")
        {end}

{start}(work)
sleep(0.001)
say("status", end_of(pid), "of a child of", os.getpid() == PARENT)
""")
    assert lines == [f"status {status} of a child of True"]


def test_buffered_output_of_the_child_is_written_once() -> None:
    assert output(f"""{COMMON}
def work():
    pid = os.fork()
    if not pid:
        print("the child's line")
        return
    end_of(pid)

spawn(work).wait()
""") == ["the child's line"]


def test_what_else_is_parked_is_dropped_in_the_child_without_running() -> None:
    lines = output(f"""{COMMON}
reader, writer = os.pipe()

class Resource:
    def __del__(self):
        say("freed in the", "parent" if os.getpid() == PARENT else "child")

def park(wait, *args):
    resource = Resource()
    try:
        wait(*args)
    finally:
        say("finally in the", "parent" if os.getpid() == PARENT else "child")

def work():
    # Nothing outside this frame refers to these: in the child they would be freed with it.
    queue = WaitQueue()
    threads = [
        spawn(park, sleep, 60),
        spawn(park, queue.wait),
        spawn(park, queue.wait, 60),
        spawn(park, wait_readable, get_hub().poller.source(reader)),
        spawn_n(park, queue.wait),
    ]
    sleep(0)
    threads += [spawn(park, sleep), spawn_n(park, sleep), spawn_after(0, park, sleep)]
    pid = os.fork()
    if not pid:
        os.write(writer, b"x")
        sleep(0.01)
        import gc
        del threads, queue
        gc.collect()
        sleep(0.01)
        say("child ends")
        return
    say("status", end_of(pid))
    sleep(0.001)
    for thread in threads:
        kill(thread)

thread = spawn(work)
thread.wait()
del thread
""")
    assert lines[:2] == ["child ends", "status 0"]
    assert sorted(lines[2:]) == ["finally in the parent"] * 8 + ["freed in the parent"] * 8


def test_a_round_of_the_hub_that_a_fork_interrupts_does_not_go_on_in_the_child() -> None:
    assert output(f"""{COMMON}
def fork():
    global pid
    pid = os.fork()

get_hub().call_soon(fork)
get_hub().call_soon(lambda: say("next in the", "parent" if os.getpid() == PARENT else "child"))
sleep(0.01)
say("status", end_of(pid))
""") == ["next in the parent", "status 0"]


def test_a_fork_in_a_signal_handler_ends_the_child_with_the_handler() -> None:
    assert output(f"""{COMMON}
def handler(*args):
    global pid
    if getcurrent() is not get_hub().greenlet:
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # it came before the poll
        return
    pid = os.fork()
    say("handled in the", "parent" if pid else "child")

pid = None
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.01)
while pid is None:
    sleep(0.1)
say("status", end_of(pid))
""") in (
        ["handled in the child", "handled in the parent", "status 0"],
        ["handled in the parent", "handled in the child", "status 0"],
    )


def test_the_parents_waits_are_its_own() -> None:
    lines = output(f"""{COMMON}
reader, writer = os.pipe()
source = get_hub().poller.source(reader)

def read():
    wait_readable(source)
    return os.read(reader, 100)

thread = spawn(read)
sleep(0.001)
pid = os.fork()
if not pid:
    get_hub().close_source(source)
    source.close()
    os.close(reader)
    fresh, _ = os.pipe()
    wait_readable(get_hub().poller.source(fresh), 0.01)
    os._exit(0)
say("status", end_of(pid))
os.write(writer, b"for the parent")
say(thread.wait())
""")
    assert lines == ["status 0", "b'for the parent'"]


def test_a_signal_to_the_child_does_not_wake_the_parent() -> None:
    assert output(f"""{COMMON}
signal.signal(signal.SIGUSR1, lambda *args: say("handled by the", "parent" if os.getpid() == PARENT else "child"))
hub = get_hub()
pokes = []
original = hub._on_poke
hub._on_poke = lambda: (pokes.append(1), original())
hub._wake_source.readers[0].fire = hub._on_poke
pid = os.fork()
if not pid:
    sleep(10)
    os._exit(0)
spawn_after(0.1, os.kill, pid, signal.SIGUSR1)
spawn_after(0.2, os.kill, pid, signal.SIGKILL)
sleep(0.3)
say(end_of(pid), pokes)
""") == ["handled by the child", "-9 []"]


HUB_OF_MAIN = {"main has a hub": "sleep(0)", "main has none": ""}
HUB_OF_THREAD = {"the thread has a hub": "sleep(0)", "the thread has none": ""}


@pytest.mark.parametrize("main", HUB_OF_MAIN)
@pytest.mark.parametrize("thread", HUB_OF_THREAD)
def test_a_native_thread_may_fork(main: str, thread: str) -> None:
    lines = output(f"""{COMMON}
{HUB_OF_MAIN[main]}

def work():
    {HUB_OF_THREAD[thread]}
    pid = os.fork()
    if not pid:
        # Whatever takes the numbers of the parent's pipes must not get the bytes of signals.
        pairs = [os.pipe() for _ in range(8)]
        for reader, writer in pairs:
            os.set_blocking(reader, False)
            os.set_blocking(writer, False)
        signal.signal(signal.SIGUSR1, lambda *args: None)
        os.kill(os.getpid(), signal.SIGUSR1)
        stray = 0
        for reader, writer in pairs:
            try:
                stray += len(os.read(reader, 10))
            except BlockingIOError:
                pass
        say(in_main_thread(), spawn(lambda: stray).wait())
        signal.signal(signal.SIGALRM, lambda *args: spawn(queue.wake))
        queue = WaitQueue()
        waiter = queue.enter()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        say(queue.finish(waiter, 10))
        os._exit(0)
    say("status", end_of(pid))

thread = threading.Thread(target=work)
thread.start()
thread.join()
sleep(0.001)
""")
    assert lines == ["True 0", "True", "status 0"]


def test_what_is_parked_in_other_os_threads_is_dropped_in_the_child_without_running() -> None:
    assert output(f"""{COMMON}
def park():
    try:
        sleep(60)
    finally:
        say("finally in the", "parent" if os.getpid() == PARENT else "child")

def work():
    threads.append(spawn(park))
    sleep(0.01)
    parked.set()
    queue.wait(10)
    threads[0].kill()

threads = []
queue = WaitQueue()
parked = threading.Event()
thread = threading.Thread(target=work)
thread.start()
parked.wait()
pid = os.fork()
if not pid:
    import gc
    threads.clear()
    gc.collect()
    sleep(0.01)
    say(queue.wake(), "nobody of this process waits")
    os._exit(0)
say("status", end_of(pid))
while not queue.wake():
    sleep(0.001)
thread.join()
""") == ["False nobody of this process waits", "status 0", "finally in the parent"]


def test_a_child_of_a_child_works_too() -> None:
    assert output(f"""{COMMON}
def fork(depth):
    if depth == 3:
        say(spawn(lambda: "deep inside").wait())
        return
    pid = os.fork()
    if not pid:
        spawn(fork, depth + 1).wait()
        return
    say("status", end_of(pid))

spawn(fork, 0).wait()
""") == ["deep inside", "status 0", "status 0", "status 0"]


def test_the_child_keeps_the_selector_that_was_chosen() -> None:
    assert output(f"""{COMMON}
use_hub("select")
pid = os.fork()
if not pid:
    say(get_hub().poller.backend.name)
    os._exit(0)
end_of(pid)
""") == ["select"]


def test_a_child_opens_as_many_fds_as_it_closes() -> None:
    assert output(f"""{COMMON}
sleep(0)
before = len(os.listdir("/dev/fd"))
pid = os.fork()
if not pid:
    sleep(0)
    say(len(os.listdir("/dev/fd")) - before)
    os._exit(0)
end_of(pid)
""") == ["0"]
