from __future__ import annotations

import gc
import operator
import sqlite3
import threading
import traceback
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve import GreenletExit, Timeout, get_hub, spawn
from greenserve.errors import HubError
from greenserve.net import Proxy, execute, killall, set_num_threads
from tests.sync.threads import HubThread, OSThread, frequent_thread_switches, let_run, run_in_new_process, until

DEFAULT_SIZE = 20


@pytest.fixture(autouse=True)
def _pool_of_the_default_size() -> Iterator[None]:
    yield
    set_num_threads(DEFAULT_SIZE)


class Gate:
    """A call that blocks its native thread until it is let through."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._lock = threading.Lock()
        self.inside = 0
        self.passed = 0

    def __call__(self, result: Any = None) -> Any:
        with self._lock:
            self.inside += 1
        assert self._open.wait(10)
        with self._lock:
            self.inside -= 1
            self.passed += 1
        return result

    def open(self) -> None:
        self._open.set()


def test_a_call_runs_in_another_thread_and_gives_its_result() -> None:
    assert execute(threading.get_ident) != threading.get_ident()
    assert execute(int, "ff", base=16) == 255
    assert execute(dict, function=1, self=2) == {"function": 1, "self": 2}


def test_other_green_threads_run_while_a_call_blocks() -> None:
    gate = Gate()
    caller = spawn(execute, gate, "done")
    until(lambda: gate.inside)
    let_run()
    assert not caller.ended
    gate.open()
    assert caller.wait() == "done"


def test_what_a_call_raises_comes_back_with_its_traceback() -> None:
    def inner() -> None:
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing") as caught:
        execute(inner)
    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "inner"
    with pytest.raises(SystemExit):
        execute(exit, 3)


def test_as_many_calls_run_at_once_as_there_are_threads() -> None:
    set_num_threads(3)
    gate = Gate()
    callers = [spawn(execute, gate) for _ in range(5)]
    until(lambda: gate.inside == 3)
    set_num_threads(4)  # one that waits gets the new thread
    until(lambda: gate.inside == 4)
    gate.open()
    for caller in callers:
        caller.wait()
    assert gate.passed == 5


def test_a_smaller_pool_lets_its_threads_go() -> None:
    set_num_threads(3)
    gate, second = Gate(), Gate()
    callers = [spawn(execute, gate) for _ in range(3)]
    until(lambda: gate.inside == 3)
    set_num_threads(1)
    gate.open()
    for caller in callers:
        caller.wait()
    callers = [spawn(execute, second) for _ in range(3)]
    until(lambda: second.inside)
    let_run()
    assert second.inside == 1
    second.open()
    for caller in callers:
        caller.wait()
    assert second.passed == 3


def test_without_threads_calls_are_made_in_place() -> None:
    set_num_threads(1)
    gate = Gate()
    callers = [spawn(execute, gate) for _ in range(3)]
    until(lambda: gate.inside)
    set_num_threads(0)
    assert execute(threading.get_ident) == threading.get_ident()
    gate.open()  # those who waited for a thread still get one
    for caller in callers:
        caller.wait()
    assert gate.passed == 3


def test_a_negative_number_of_threads_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        set_num_threads(-1)


@pytest.mark.parametrize("raised", [GreenletExit(), Timeout()])
def test_who_is_interrupted_abandons_the_call(raised: BaseException) -> None:
    set_num_threads(1)
    gate = Gate()
    running = spawn(execute, gate)
    made: list[str] = []
    waiting = spawn(execute, made.append, "call")
    until(lambda: gate.inside)
    for caller in (running, waiting):
        caller.kill(raised)
        with pytest.raises(type(raised)):
            caller.wait()
    gate.open()
    assert execute(operator.add, 2, 3) == 5  # in the only thread, hence after the others
    assert (gate.passed, made) == (1, [])


def test_a_timeout_ends_the_wait_for_a_call() -> None:
    gate = Gate()
    with pytest.raises(Timeout), Timeout(0.001):
        execute(gate)
    gate.open()
    assert execute(int) == 0


def test_a_call_from_within_a_call_runs_where_it_stands() -> None:
    set_num_threads(1)
    first, second = execute(lambda: (threading.get_ident(), execute(threading.get_ident)))
    assert first == second != threading.get_ident()


@pytest.mark.parametrize("os_thread", [OSThread, HubThread])
def test_calls_come_from_any_thread(os_thread: Any) -> None:
    callers = [
        os_thread(lambda number=number: [execute(operator.mul, number, 2) for _ in range(50)]) for number in range(4)
    ]
    assert [caller.wait() for caller in callers] == [[number * 2] * 50 for number in range(4)]


def test_a_callback_of_the_hub_can_not_wait_for_a_call() -> None:
    seen: list[BaseException] = []

    def callback() -> None:
        try:
            execute(int)
        except HubError as exc:
            seen.append(exc)

    get_hub().call_soon(callback)
    let_run()
    assert len(seen) == 1


def test_many_calls_race_with_changes_of_the_size() -> None:
    with frequent_thread_switches():
        running = True

        def call(number: int) -> int:
            total = 0
            while running:
                total += execute(operator.sub, number + 1, number)
            return total

        callers = [spawn(call, number) for number in range(8)]
        for size in (1, 5, 2, 0, 9, 1, 3) * 4:
            set_num_threads(size)
            killall()
            for _ in range(20):
                assert execute(int) == 0
        running = False
        assert all(caller.wait() > 0 for caller in callers)


class Marker:
    """Kept by a thread for as long as it lives."""


def test_threads_leave_when_they_are_told_to() -> None:
    set_num_threads(2)
    local = threading.local()

    def mark() -> weakref.ref[Marker]:
        local.marker = Marker()
        return weakref.ref(local.marker)

    idle = execute(mark)
    gate = Gate()
    callers = [spawn(execute, gate), spawn(execute, lambda: (mark(), gate()))]
    until(lambda: gate.inside == 2)
    killall()
    gate.open()
    for caller in callers:
        caller.wait()
    busy = callers[1].wait()[0]
    until(lambda: idle() is None and busy() is None)
    assert execute(int) == 0


def test_an_idle_thread_keeps_nothing_of_its_last_call() -> None:
    argument = Marker()
    reference = weakref.ref(argument)
    execute(lambda given: None, argument)
    del argument
    until(lambda: reference() is None)

    def fail(given: Marker) -> None:
        raise ValueError("of no use")

    argument = Marker()
    reference = weakref.ref(argument)
    with pytest.raises(ValueError, match="of no use"):
        execute(fail, argument)
    del argument
    gc.collect()
    until(lambda: reference() is None)


def test_a_thread_keeps_nothing_of_its_first_call_when_nobody_waited_for_what_came_of_it() -> None:
    killall()
    gate = Gate()
    result = Marker()
    reference = weakref.ref(result)
    caller = spawn(execute, lambda results: (gate(), results.pop()), [result])
    until(lambda: gate.inside == 1)
    caller.kill()
    del result
    gate.open()
    until(lambda: reference() is None)


# One process for each ------------------------------------------------------------------------------------------------


def test_a_forked_child_starts_its_own_threads() -> None:
    script = """
import os, threading
from greenserve import execute, spawn, sleep
from greenserve.net import set_num_threads
set_num_threads(1)
hold = threading.Event()
caller = spawn(execute, hold.wait)
waiting = spawn(execute, int)
sleep(0)
child = os.fork()
if not child:
    print("child", execute(int, "7"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
hold.set()
print("parent", caller.wait(), waiting.wait())
"""
    assert run_in_new_process(script) == "child 7\nparent True 0\n"


def test_the_interpreter_ends_while_threads_are_idle_or_busy() -> None:
    script = """
import threading
from greenserve import execute, spawn, sleep
execute(int)
spawn(execute, threading.Event().wait)
sleep(0)
print("end")
"""
    assert run_in_new_process(script) == "end\n"


def test_a_system_that_gives_no_more_threads_is_made_do_with() -> None:
    script = """
import threading
from greenserve import execute, spawn, sleep

ordinary = threading.stack_size()
def let_none_start(): threading.stack_size(1 << 46)  # more than there is of address space
def let_start(): threading.stack_size(ordinary)

let_none_start()
try:
    execute(int)
except RuntimeError as exc:
    print(exc)
let_start()
inside, hold = threading.Event(), threading.Event()
first = spawn(execute, lambda: (inside.set(), hold.wait())[1])
while not inside.is_set():
    sleep(0)
let_none_start()
second = spawn(execute, int)  # waits for the thread that there is
sleep(0)
hold.set()
print(first.wait(), second.wait())
"""
    assert run_in_new_process(script) == "can't start new thread\nTrue 0\n"


def test_a_first_call_is_no_deadlock_though_its_thread_has_only_just_been_started() -> None:
    assert run_in_new_process("from greenserve import execute; print(execute(str, 5))") == "5\n"


@pytest.mark.parametrize(
    ("size", "printed"),
    [("0", "True\n"), ("1", "False\n"), ("many", "GREENSERVE_THREADPOOL_SIZE='many'\n"), ("-1", "...")],
)
def test_the_environment_says_how_many_threads(size: str, printed: str) -> None:
    script = f"""
import os, threading
os.environ["GREENSERVE_THREADPOOL_SIZE"] = {size!r}
from greenserve import execute
from greenserve.errors import SettingError
try:
    print(execute(threading.get_ident) == threading.get_ident())
except SettingError as exc:
    print(str(exc).split(" ")[0])
"""
    expected = f"GREENSERVE_THREADPOOL_SIZE={size!r}\n" if printed == "..." else printed
    assert run_in_new_process(script) == expected


# Proxy ---------------------------------------------------------------------------------------------------------------


class Recorder:
    """Says in which thread each of its methods ran."""

    name = "recorder"

    def __init__(self) -> None:
        self.items = {"a": 1}

    def where(self) -> int:
        return threading.get_ident()

    def fail(self) -> None:
        raise LookupError("as asked")

    def other(self) -> Recorder:
        return Recorder()

    def __call__(self, value: int) -> tuple[int, int]:
        return value, threading.get_ident()

    def __getitem__(self, key: str) -> tuple[int, int]:
        return self.items[key], threading.get_ident()

    def __setitem__(self, key: str, value: int) -> None:
        self.items[key] = value

    def __delitem__(self, key: str) -> None:
        del self.items[key]

    def __contains__(self, key: str) -> bool:
        return key in self.items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[int]:
        yield threading.get_ident()

    def __enter__(self) -> Recorder:
        self.items["entered"] = threading.get_ident()
        return self

    def __exit__(self, *exc_info: object) -> bool:
        self.items["left"] = threading.get_ident()
        return True


def test_a_proxy_calls_methods_in_native_threads() -> None:
    here = threading.get_ident()
    proxy = Proxy(Recorder())
    assert proxy.where() != here
    assert proxy(5)[0] == 5
    assert proxy(5)[1] != here
    assert proxy["a"][0] == 1
    assert proxy["a"][1] != here
    assert all(thread != here for thread in proxy)
    with pytest.raises(LookupError, match="as asked"):
        proxy.fail()


def test_a_proxy_reads_and_sets_attributes_in_place() -> None:
    recorder = Recorder()
    proxy = Proxy(recorder)
    assert proxy.name == "recorder"
    proxy.name = "other"
    assert recorder.name == "other"
    del proxy.name
    assert proxy.name == "recorder"
    assert "where" in dir(proxy)
    with pytest.raises(AttributeError):
        _ = proxy.nothing


def test_a_proxy_is_a_container_if_its_object_is_one() -> None:
    proxy = Proxy(Recorder())
    proxy["b"] = 2
    assert (len(proxy), "b" in proxy, bool(proxy)) == (2, True, True)
    del proxy["b"]
    assert ("b" in proxy, list(Proxy([1, 2])), list(Proxy(iter("ab")))) == (False, [1, 2], ["a", "b"])
    assert next(Proxy(iter("ab"))) == "a"


def test_a_proxy_is_a_context_if_its_object_is_one() -> None:
    recorder = Recorder()
    proxy = Proxy(recorder)
    with proxy as entered:
        assert entered is proxy
        raise ValueError("its __exit__ swallows this")
    assert recorder.items["entered"] != threading.get_ident() != recorder.items["left"]


def test_a_proxy_is_equal_to_its_object_and_says_what_it_stands_for() -> None:
    proxy = Proxy("text")
    assert proxy == "text"
    assert proxy == Proxy("text")
    assert proxy != Proxy("other")
    assert hash(proxy) == hash("text")
    assert str(proxy) == "text"
    assert repr(proxy) == "<Proxy of 'text'>"


def test_results_are_wrapped_by_class_and_by_name() -> None:
    assert type(Proxy(Recorder()).other()) is Recorder
    assert type(Proxy(Recorder(), autowrap=(Recorder,)).other()) is Proxy
    assert type(Proxy(Recorder(), autowrap=(Recorder,)).other().other()) is Proxy
    assert type(Proxy(Recorder(), autowrap_names=("other",)).other()) is Proxy
    assert type(Proxy(Recorder(), autowrap_names=("other",)).where()) is int


def test_a_proxy_serves_a_database_and_its_errors_are_its_own(tmp_path: Path) -> None:
    set_num_threads(1)  # sqlite3 binds a connection to the thread that made it
    database = Proxy(sqlite3, autowrap=(sqlite3.Connection, sqlite3.Cursor))
    connection = database.connect(tmp_path / "database")
    with connection:
        connection.execute("create table t (x)")
        connection.execute("insert into t values (5)")
    assert connection.execute("select x from t").fetchall() == [(5,)]
    assert list(connection.execute("select x + 1 from t")) == [(6,)]
    with pytest.raises(database.OperationalError):
        connection.execute("select from")
    connection.close()
