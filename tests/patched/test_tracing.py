"""Trace functions and the debugger of the standard library, where each green thread is to be a thread of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patched.running import run_script

TRACED = """
    import sys, threading, time

    lines = []

    def trace(frame, event, arg):
        if frame.f_code.co_name not in ("main", "work"):
            return None
        if event == "line":
            lines.append((frame.f_code.co_name, frame.f_lineno - frame.f_code.co_firstlineno))
        return trace

    def work_untraced():
        sys.settrace(None)
        time.sleep(0.001)
        work()
        time.sleep(0.01)

    def work():
        time.sleep(0.002)
        return 1

    def main():
        threads = [threading.Thread(target=target) for target in (work_untraced, work)]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        for thread in threads:
            thread.join()
        time.sleep(0.001)

    %s
    main()
    sys.settrace(None)
    threading.settrace(None)
    print(sorted(lines))
"""


@pytest.mark.parametrize("setup", ["threading.settrace(trace)", "sys.settrace(trace); threading.settrace(trace)"])
def test_threads_are_traced_or_not_each_for_itself(setup: str) -> None:
    seen = run_script(TRACED % setup)
    assert seen.count("'work'") == 2
    assert seen == run_script(TRACED % setup, patch=False)


def test_nobody_sees_a_line_of_how_a_trace_function_is_set() -> None:
    assert (
        run_script(
            """
        import sys, threading
        seen = []

        def trace(frame, event, arg):
            seen.append((frame.f_code.co_name, event))
            return trace

        def work():
            sys.settrace(trace)
            sys.settrace(None)

        def main():
            sys.settrace(None)

        sys.settrace(trace)
        main()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(seen, sys.gettrace(), sys.settrace.__name__, callable(sys.settrace))
        try:
            sys.settrace()
        except TypeError:
            print("TypeError")
        """
        )
        == "[('main', 'call'), ('main', 'line')] None settrace True\nTypeError\n"
    )


def test_green_threads_that_set_none_are_traced_as_the_main_one_is() -> None:
    assert (
        run_script(
            """
        import sys, greenlet, greenserve
        called = []

        def trace(frame, event, arg):
            if frame.f_code.co_name == "work":
                called.append(event)
            return trace

        def work():
            greenserve.sleep(0)

        def untraced():
            sys.settrace(None)
            greenserve.sleep(0)
            work()

        sys.settrace(trace)
        greenserve.spawn(work).wait()
        print(called, greenlet.gettrace())
        called.clear()
        both = [greenserve.spawn(untraced), greenserve.spawn(work)]
        for thread in both:
            thread.wait()
        print(called, sys.gettrace() is trace)
        sys.settrace(None)
        """
        )
        == "['call', 'line', 'return'] None\n['call', 'line', 'return'] True\n"
    )


def test_whoever_watches_the_switches_goes_on_doing_so() -> None:
    assert (
        run_script(
            """
        import sys, greenlet, greenserve
        switches = []
        greenlet.settrace(lambda event, args: switches.append(event))
        greenserve.spawn(sys.settrace, None).wait()
        switches.clear()
        greenserve.sleep(0)
        print(switches)
        """
        )
        == "['switch', 'switch']\n"
    )


def test_another_os_threads_trace_function_is_its_own() -> None:
    assert (
        run_script(
            """
        import sys
        from greenserve import execute
        sys.settrace(lambda *args: None)
        print(execute(sys.gettrace))
        sys.settrace(None)
        """
        )
        == "None\n"
    )


PROGRAM = """\
import threading, time
def work(n):
    time.sleep(0.01)
    return n * 2
def debugged():
    breakpoint()
    x = work(2)
    print("got", x)
ticks = []
def tick():
    for _ in range(10):
        time.sleep(0.001)
        ticks.append(1)
threads = [threading.Thread(target=target) for target in (debugged, tick)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(ticks))
"""


def run_program(folder: Path, options: list[str], commands: str) -> list[str]:
    """Run PROGRAM by ``python -m greenserve.monkey`` with what somebody types, and return what it prints."""
    (folder / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "greenserve.monkey", *options, str(folder / "program.py")],
        input=commands,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace("(Pdb) ", "").splitlines()


def test_pdb_stops_steps_and_goes_on_in_a_green_thread(tmp_path: Path) -> None:
    lines = run_program(tmp_path, [], "b 8\nc\np x + 1\nn\nc\n")
    assert f"> {tmp_path}/program.py(8)debugged()" in lines
    assert lines[lines.index('-> print("got", x)') + 1] == "5"
    assert {"got 4", "--Return--"} <= set(lines)
    assert lines[-1] == "10"


def test_pdb_runs_a_program_with_breakpoints(tmp_path: Path) -> None:
    lines = run_program(tmp_path, ["-m", "pdb"], "b 16\nc\np len(ticks)\ncl 1\nc\nc\nq\n")
    assert lines[lines.index("-> thread.start()") + 1] == "0"
    assert {"got 4", "10"} <= set(lines)
