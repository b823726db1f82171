"""fork, multiprocessing and subprocess from green threads.

In a forked child only the thread that forked lives on, as its main thread; the others never run again there, not even
their ``finally`` blocks.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.patched.running import ROOT, run_script


def test_in_a_forked_child_only_the_thread_that_forked_lives_on() -> None:
    assert (
        run_script(
            """
        import os, threading, time
        told = []

        def bystander():
            try:
                time.sleep(0.3)
                told.append("ran")
            finally:
                os.write(1, f"finally {os.getpid() == parent}\\n".encode())

        def forker():
            pid = os.fork()
            if not pid:
                others = [thread.is_alive() for thread in before if thread is not threading.current_thread()]
                thread = threading.Thread(target=told.append, args=("new",))
                thread.start()
                thread.join()
                time.sleep(0.4)
                current = threading.current_thread()
                print(others, threading.active_count(), current is threading.main_thread(), told, flush=True)
                os._exit(7)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

        parent = os.getpid()
        before = [threading.main_thread(), threading.Thread(target=bystander), threading.Thread(target=forker)]
        for thread in before[1:]:
            thread.start()
        for thread in before[1:]:
            thread.join()
        print(told)
        """
        )
        == "finally True\n[False, False] 1 True ['new']\n7\n['ran']\n"
    )


def test_locks_that_were_held_are_free_for_the_standard_library_in_a_child() -> None:
    assert (
        run_script(
            """
        import io, logging, os, threading, time
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        logging.getLogger().addHandler(handler)

        def hold():
            with handler.lock:
                time.sleep(0.3)

        thread = threading.Thread(target=hold)
        thread.start()
        time.sleep(0)
        pid = os.fork()
        if not pid:
            logging.warning("from the child")
            os._exit(0 if stream.getvalue() == "from the child\\n" else 1)
        print(os.waitpid(pid, 0)[1])
        thread.join()
        """
        )
        == "0\n"
    )


PROGRAM = """
from greenserve import monkey
monkey.patch_all()
import concurrent.futures, multiprocessing, sys, threading, time

def square(number):
    time.sleep(0.01)
    return number * number

def main():
    context = multiprocessing.get_context(sys.argv[1])
    turns = []
    threading.Thread(target=lambda: [turns.append(time.sleep(0.01)) for _ in range(10)], daemon=True).start()
    with context.Pool(2) as pool:
        print(pool.map(square, range(10)))
        print(len(turns) > 2)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        print(list(executor.map(square, range(5))))
    ours, theirs = context.Pipe()
    process = context.Process(target=theirs.send, args=("through a pipe",))
    process.start()
    print(ours.recv())
    process.join()
    queue = context.Queue()
    process = context.Process(target=queue.put, args=("through a queue",))
    process.start()
    print(queue.get(), process.join(), process.exitcode)
    with context.Manager() as manager:
        shared = manager.dict(a=1)
        with manager.Lock():
            shared["a"] += 1
        print(shared)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_and_lets_others_run(method: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert run_script(
        f"""
        import subprocess, sys
        print(subprocess.run([sys.executable, {str(program)!r}, {method!r}], cwd={str(ROOT)!r}, check=True,
                             capture_output=True, text=True, timeout=40).stdout, end="")
        """
    ) == (
        "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\nTrue\n[0, 1, 4, 9, 16]\nthrough a pipe\n"
        "through a queue None 0\n{'a': 2}\n"
    )


def test_much_output_goes_through_pipes_both_ways() -> None:
    assert (
        run_script(
            """
        import subprocess, threading, time
        data = bytes(range(256)) * 16384
        turns = []
        threading.Thread(target=lambda: [turns.append(time.sleep(0.001)) for _ in range(1000)], daemon=True).start()
        print(subprocess.run(["cat"], input=data, capture_output=True, check=True).stdout == data)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            writer = threading.Thread(target=lambda: (process.stdin.write(data), process.stdin.close()))
            writer.start()
            print(process.stdout.read() == data)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            process.stdin.write("a line\\n")
            print(repr(process.stdout.readline()), len(turns) > 1)
        """
        )
        == "True\nTrue\n'a line\\n' True\n"
    )


def test_a_process_that_takes_too_long_is_told_of_by_the_standard_class() -> None:
    assert (
        run_script(
            """
        import subprocess
        process = subprocess.Popen(["sleep", "20"])
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired as exc:
            print(exc.timeout)
        process.kill()
        print(process.wait(), process.wait(5))
        """
        )
        == "0.1\n-9 -9\n"
    )
