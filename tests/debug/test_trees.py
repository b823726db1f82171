from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from greenlet import getcurrent, greenlet

from greenserve import Event, GreenPool, GreenThread, Lock, Queue, execute, get_hub, kill, sleep, spawn, spawn_after
from greenserve.debug import Branch, State, dump, tree
from greenserve.net import socketpair
from tests.core.scripts import output
from tests.sync.threads import Countdown, HubThread, OSThread, frequent_thread_switches, until


@pytest.fixture
def start() -> Iterator[Any]:
    """`spawn`, and a chance to begin. What it has started is killed in the end."""
    started: list[GreenThread[Any]] = []

    def spawn_and_run(*call: Any) -> GreenThread[Any]:
        started.append(spawn(*call))
        sleep(0)
        return started[-1]

    yield spawn_and_run
    for thread in started:
        kill(thread)


def all_branches(branch: Branch) -> Iterator[Branch]:
    yield branch
    for child in branch.children:
        yield from all_branches(child)


def own_branches() -> list[Branch]:
    number = get_hub().thread_id
    (mine,) = [thread for thread in tree() if thread.number == number]
    assert mine.main is not None
    return list(all_branches(mine.main))


def branch_of(thread: greenlet) -> Branch:
    (found,) = [branch for branch in own_branches() if branch.thread is thread]
    return found


def dumped() -> str:
    file = io.StringIO()
    dump(file)
    return file.getvalue()


def test_the_caller_runs_and_its_stack_ends_where_it_asks() -> None:
    branch = branch_of(getcurrent())
    assert (branch.name, branch.state) == ("the main greenlet", State.RUNNING)
    assert branch.stack[-1][::2] == (__file__, "own_branches")


def test_the_hub_is_a_child_of_main_and_green_threads_are_children_of_the_hub(start: Any) -> None:
    thread = start(sleep, 60)
    main = branch_of(get_hub().main)
    (hub,) = [child for child in main.children if child.thread is get_hub().greenlet]
    assert hub.name == "the hub"
    assert thread in [child.thread for child in hub.children]


def test_who_reads_and_who_writes_is_told_with_the_fd(start: Any) -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        reader = start(ours.recv, 1)
        writer = start(ours.sendall, bytes(10_000_000))
        assert branch_of(reader)[2:6] == (State.READING, ours.fileno(), "", None)
        assert branch_of(writer)[2:6] == (State.WRITING, ours.fileno(), "", None)
        assert branch_of(reader).stack[-1].file.endswith("net/parking.py")
        kill(writer)
        theirs.send(b"x")
        reader.wait()


def test_a_timeout_tells_how_much_longer_it_waits(start: Any) -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        ours.settimeout(60)
        branch = branch_of(start(ours.recv, 1))
    assert branch.left is not None
    assert 50 < branch.left <= 60


def test_who_sleeps_is_told_with_what_is_left(start: Any) -> None:
    branch = branch_of(start(sleep, 60))
    assert (branch.state, branch.name, branch.on) == (State.SLEEPING, "sleep", "")
    assert branch.left is not None
    assert 50 < branch.left <= 60


def test_who_has_yet_to_begin_is_ready_or_asleep() -> None:
    soon, later = spawn(int), spawn_after(60, int)
    assert (branch_of(soon).state, branch_of(soon).name, branch_of(soon).stack) == (State.READY, "int", ())
    assert branch_of(later).state is State.SLEEPING
    later.cancel()
    soon.wait()
    assert soon not in [branch.thread for branch in own_branches()]


def test_who_was_woken_is_ready(start: Any) -> None:
    event: Event[None] = Event()
    waiter = start(event.wait)
    assert branch_of(waiter).state is State.WAITING
    event.send()
    assert branch_of(waiter).state is State.READY


def a_lock() -> tuple[Any, Any]:
    lock = Lock()
    lock.acquire()
    return lock, lock.acquire


def a_pool() -> tuple[Any, Any]:
    pool = GreenPool(2)
    pool.spawn(sleep, 0.1)
    return pool, pool.waitall


@pytest.mark.parametrize(
    "make",
    [
        a_lock,
        a_pool,
        lambda: (queue := Queue(), queue.get),
        lambda: (event := Event(), event.wait),
        lambda: (other := spawn(sleep, 60), other.wait),
    ],
    ids=["lock", "pool", "queue", "event", "green thread"],
)
def test_what_is_waited_for_is_named(make: Any, start: Any) -> None:
    awaited, wait = make()
    thread = start(wait)
    branch = branch_of(thread)
    assert branch.state is State.WAITING
    assert branch.on == repr(awaited)
    if isinstance(awaited, GreenThread):
        kill(awaited)


def test_a_call_in_a_native_thread_is_waited_for_as_such(start: Any) -> None:
    held, free = threading.Event(), threading.Event()
    thread = start(execute, lambda: (held.set(), free.wait(10)))
    until(held.is_set)
    assert branch_of(thread).on == "<a call in a native thread: it runs, or has ended>"
    free.set()
    thread.wait()


def test_a_thread_is_known_by_the_name_that_it_was_given_or_else_by_its_function(start: Any) -> None:
    def work() -> None:
        sleep(60)

    assert branch_of(start(work)).name == "work"
    assert output("""
        from greenserve import monkey
        monkey.patch_all()
        import threading, time
        from greenserve.debug import tree
        threading.Thread(target=time.sleep, args=(60,), name="the sleeper", daemon=True).start()
        time.sleep(0.001)
        (thread,) = tree()
        print(thread.name, [child.name for child in thread.main.children[0].children])
    """) == ["MainThread ['the sleeper']"]


def test_other_os_threads_are_shown_with_and_without_a_hub() -> None:
    go_on = threading.Event()
    ready = []

    def with_hub() -> None:
        sleeper = spawn(sleep, 60)
        sleep(0)
        ready.append(sleeper)
        go_on.wait(10)
        kill(sleeper)

    def without_hub() -> None:
        ready.append(None)
        go_on.wait(10)

    threads = [OSThread(with_hub), OSThread(without_hub)]
    until(lambda: len(ready) == 2)
    shown = {thread.number: thread for thread in tree()}
    first, second = shown[threads[0].ident], shown[threads[1].ident]
    go_on.set()
    for thread in threads:
        thread.wait()
    assert "with_hub" in [place.function for place in first.stack]
    assert first.main is not None
    assert (first.main.state, first.main.name) == (State.RUNNING, "the main greenlet")
    assert [branch.state for branch in all_branches(first.main)] == [State.RUNNING, State.WAITING, State.SLEEPING]
    assert "without_hub" in [place.function for place in second.stack]
    assert second.main is None


def test_a_hub_of_another_os_thread_that_polls_is_told_to() -> None:
    event: Event[None] = Event()
    thread = OSThread(lambda: spawn(event.wait).wait())

    def hub_states() -> list[State]:
        mains = [shown.main for shown in tree() if shown.number == thread.ident]
        return [child.state for main in mains if main for child in main.children]

    until(lambda: hub_states() == [State.POLLING])
    event.send()
    thread.wait()


def test_it_can_be_asked_for_while_other_os_threads_switch_all_the_time() -> None:
    clock = Countdown(0.5)

    def wait_below(depth: int) -> list[int]:
        if depth:
            return next(map(wait_below, [depth - 1]))  # with frames of C in between
        return sorted([3, 1, 2], key=lambda number: (sleep(0), number))

    count = 0

    def goes_on() -> bool:
        return clock.running or count < 2

    def churn() -> None:
        while goes_on():
            for thread in [spawn(wait_below, depth) for depth in range(9)]:
                assert thread.wait() == [1, 2, 3]

    with frequent_thread_switches():
        threads = [HubThread(churn) for _ in range(2)]
        while goes_on():
            assert len(tree()) >= 2
            count += 1
        for thread in threads:
            thread.wait()


def test_a_dump_tells_those_together_that_do_the_same(start: Any) -> None:
    def read(sock: Any) -> None:
        sock.recv(1)

    pairs = [socketpair() for _ in range(10)]
    readers = [start(read, pair[0]) for pair in pairs]
    text = dumped()
    for reader in readers:
        kill(reader)
    for pair in pairs:
        for sock in pair:
            sock.close()
    (line,) = [line for line in text.splitlines() if "x read: " in line]
    assert line.startswith("      10 x read: reading fd ")
    assert line.endswith(" and 2 more")
    assert text.count("sock.recv(1)") == 1


def test_a_dump_goes_to_stderr_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    dump()
    assert capsys.readouterr().err.startswith(f"The green threads of process {os.getpid()}:\n\nOS thread ")


def test_a_dump_leaves_out_what_a_forked_child_has_left_behind() -> None:
    assert output("""
        import os
        from greenserve import sleep, spawn
        from greenserve.debug import tree
        spawn(sleep, 60)
        sleep(0)
        pid = os.fork()
        if not pid:
            spawn(sleep, 60)
            sleep(0)
            (thread,) = tree()
            print([len(hub.children) for hub in thread.main.children], flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
    """) == ["[1]"]


SIGNAL_SCRIPT = """
    import os, signal, sys, time
    from greenserve import Event, sleep, spawn
    from greenserve.debug import dump_on

    dump_on(signal.SIGUSR2, sys.stdout)

    def wait_for_ever():
        Event().wait()

    def spin():
        end = time.monotonic() + 0.1
        os.kill(os.getpid(), signal.SIGUSR2)
        while time.monotonic() < end:
            pass

    spawn(wait_for_ever)
    %s
"""


def test_a_signal_dumps_in_the_middle_of_a_loop_that_never_waits() -> None:
    lines = output(SIGNAL_SCRIPT % "spawn(spin).wait()")
    (running,) = [number for number, line in enumerate(lines) if line.endswith("spin: running")]
    assert "in spin" in lines[running + 1]
    (waiting,) = [number for number, line in enumerate(lines) if "wait_for_ever: waiting for <Event at" in line]
    assert lines[waiting + 1].endswith(", in wait_for_ever")


def test_a_signal_dumps_while_the_hub_polls() -> None:
    lines = output(
        SIGNAL_SCRIPT
        % """
    signal.signal(signal.SIGALRM, lambda *args: os.kill(os.getpid(), signal.SIGUSR2))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    sleep(0.2)
    """
    )
    assert [line.strip() for line in lines if "the hub" in line] == ["the hub: polling"]


def test_ten_thousand_green_threads_are_told_of_in_a_moment() -> None:
    event: Event[None] = Event()
    threads = [spawn(event.wait) for _ in range(10_000)]
    sleep(0)
    began = time.monotonic()
    text = dumped()
    took = time.monotonic() - began
    event.send()
    for thread in threads:
        thread.wait()
    assert "10,000 x wait: waiting for <Event at" in text
    assert len(text) < 20_000
    assert took < 5  # 0.2 s, on a machine that has nothing else to do
