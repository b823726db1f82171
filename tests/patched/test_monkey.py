"""What the patch writes, what it leaves, and what it says when it comes too late."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.monkey._names import MISSING, read
from greenserve.monkey._table import GROUPS, LOCKS, ROWS, Row
from tests.patched.running import ROOT, run_script


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.module}.{row.name}")
def test_each_name_of_the_table_is_there_to_be_replaced(row: Row) -> None:
    __import__(row.module)
    assert read(sys.modules[row.module], row.name) is not MISSING


def test_no_name_stands_in_the_table_twice() -> None:
    names = [(row.module, row.name) for row in ROWS]
    assert len(set(names)) == len(names)
    locks = [(lock.module, lock.name) for lock in LOCKS]
    assert len(set(locks)) == len(locks)


def test_nothing_is_deleted_and_classes_stay() -> None:
    assert (
        run_script(
            """
        import _thread, os, queue, select, selectors, signal, socket, ssl, subprocess, threading, time
        modules = [_thread, os, queue, select, selectors, signal, socket, ssl, subprocess, threading, time]
        before = {module: dict(vars(module)) for module in modules}
        kept = [subprocess.Popen, subprocess.CalledProcessError, ssl.SSLContext, ssl.SSLSocket, socket.timeout,
                threading.Thread, threading.Condition, threading.Event, queue.Queue, queue.Empty,
                selectors.DefaultSelector, selectors.PollSelector, signal.Signals]
        plain = socket.socket
        from greenserve import monkey
        monkey.patch_all()
        print([name for module in modules for name in before[module] if name not in vars(module)])
        after = [subprocess.Popen, subprocess.CalledProcessError, ssl.SSLContext, ssl.SSLSocket, socket.timeout,
                threading.Thread, threading.Condition, threading.Event, queue.Queue, queue.Empty,
                selectors.DefaultSelector, selectors.PollSelector, signal.Signals]
        print(kept == after, issubclass(socket.socket, plain))
        """,
            patch=False,
        )
        == "[]\nTrue True\n"
    )


def test_patching_twice_and_in_another_order_makes_no_difference() -> None:
    script = """
        import json
        from greenserve import monkey
        from greenserve.monkey._table import ROWS
        from greenserve.monkey._names import read
        import asyncio.events, multiprocessing.connection, sys, unittest.mock
        for group in {groups!r}:
            getattr(monkey, f"patch_{{group}}")()
        monkey.patch_all(builtins=True)
        print([row[:3] for row in ROWS if read(sys.modules[row.module], row.name) is not row.green
               and not isinstance(row.green, staticmethod)])
        print(monkey.original("time").sleep, monkey.original("threading").Lock)
    """
    forwards = run_script(script.format(groups=GROUPS), patch=False)
    backwards = run_script(script.format(groups=GROUPS[::-1]), patch=False)
    assert forwards == backwards
    assert forwards.startswith("[]\n<built-in function sleep>")


def test_a_part_can_be_left_out() -> None:
    assert (
        run_script(
            """
        import socket, time
        plain = socket.socket, time.sleep
        from greenserve import monkey
        monkey.patch_all(socket=False, ssl=False)
        print(socket.socket is plain[0], time.sleep is plain[1])
        print([monkey.is_patched(name) for name in ("socket", "time", "thread", "threading", "builtins", "json")])
        """,
            patch=False,
        )
        == "True False\n[False, True, True, True, False, False]\n"
    )


def test_a_part_that_does_not_exist_is_refused_by_name() -> None:
    assert "TypeError patch_all(sockets=...): the parts are time, os," in run_script(
        """
        from greenserve import monkey
        try:
            monkey.patch_all(sockets=True)
        except TypeError as exc:
            print("TypeError", exc)
        """,
        patch=False,
    )


def test_a_patch_in_time_says_nothing_in_development_mode() -> None:
    run_script("import threading, socket, subprocess, ssl, logging, concurrent.futures", "-X", "dev", "-W", "error")


def test_a_patch_that_is_too_late_names_modules_classes_and_attributes() -> None:
    said = run_script(
        """
        import sys, types, warnings
        mine = types.ModuleType("mine")
        sys.modules["mine"] = mine
        exec("import time, threading\\nfrom time import sleep\\nfrom threading import Lock\\n"
             "from queue import Empty\\nopen = open\\nlock = threading.RLock()\\n"
             "class Pool:\\n    guard = threading.Lock()\\n    ready = threading.Event()\\n", vars(mine))
        from greenserve import monkey
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            monkey.patch_all()
        for warning in caught:
            print(warning.category.__name__, warning.filename, warning.message)
        """,
        patch=False,
    )
    assert said.startswith("PatchWarning <string> ")
    for line in [
        "mine.sleep is time.sleep as it was before",
        "mine.Lock is threading.Lock as it was before",
        "mine.lock is a lock that stops the whole OS thread",
        "mine.Pool.guard is a lock that stops the whole OS thread",
        "mine.Pool.ready has a lock that stops the whole OS thread",
        "python -m greenserve.monkey SCRIPT",
    ]:
        assert line in said
    # Which the patch leaves as they are.
    assert "Empty" not in said
    assert "open" not in said


def test_the_standard_librarys_early_locks_and_names_are_put_right() -> None:
    assert (
        run_script(
            """
        import asyncio, concurrent.futures.thread, logging, tempfile, threading
        import multiprocessing.connection as connection
        handler = logging.StreamHandler()
        from greenserve import monkey
        monkey.patch_all()
        from greenserve.green._thread import Lock, RLock
        print(all(isinstance(lock, (Lock, RLock)) for lock in (
            logging._lock, handler.lock, threading._active_limbo_lock, tempfile._once_lock, tempfile._allocate_lock(),
            concurrent.futures.thread._global_shutdown_lock)))
        import os
        print(connection.Connection._recv.__defaults__ == (os.read,))
        """,
            patch=False,
        )
        == "True\nTrue\n"
    )


def test_modules_that_are_loaded_later_anew_or_again_are_patched_too() -> None:
    assert (
        run_script(
            """
        import importlib, queue, select, sys, time
        before = queue.SimpleQueue, queue.Empty, select.epoll
        for name in ("_queue", "queue", "select"):
            del sys.modules[name]
        anew = [importlib.import_module(name) for name in ("queue", "select")]
        print([anew[0].SimpleQueue, anew[0].Empty, anew[1].epoll] == list(before))
        print(importlib.reload(time).sleep.__module__, "multiprocessing.connection" in sys.modules)
        from multiprocessing.connection import Connection
        print(Connection._read.__module__, monkey.original("time").sleep, monkey.original("select").epoll.__module__)
        """
        )
        == "True\ngreenserve.green.time False\ngreenserve.green.os <built-in function sleep> select\n"
    )


def test_an_import_hook_of_old_that_finds_nothing_by_a_spec_is_left_alone() -> None:
    assert (
        run_script(
            """
        import importlib, sys
        from greenserve import monkey

        class Old:
            def find_module(self, name, path=None):
                return None

        sys.meta_path.insert(0, Old())
        monkey.patch_all()
        import time
        print(importlib.reload(time).sleep.__module__)
        """,
            "-Wignore",
            patch=False,
        )
        == "greenserve.green.time\n"
    )


def test_what_can_be_asked_of_the_loader_of_a_patched_module_stays() -> None:
    assert (
        run_script(
            """
        import importlib.util, inspect, runpy, sys
        del sys.modules["queue"]
        spec = importlib.util.find_spec("queue")
        import queue
        print(queue.__spec__.loader is queue.__loader__, "class LifoQueue" in inspect.getsource(queue))
        print(type(queue.__loader__).__name__, spec.loader.get_filename("queue") == queue.__file__)
        sys.modules.pop("queue")
        print(runpy.run_module("queue")["SimpleQueue"].__module__)
        """
        )
        == "True True\nSourceFileLoader True\n_queue\n"
    )


def test_a_pipe_that_io_opens_by_its_fd_waits_in_the_hub() -> None:
    assert (
        run_script(
            """
        import io, os, threading
        read_end, write_end = os.pipe()
        got = []
        with io.open(read_end, "rb") as source, io.open(write_end, "wb", buffering=0) as sink:
            thread = threading.Thread(target=lambda: got.append(source.read(1 << 20)))
            thread.start()
            print(sink.write(bytes(1 << 20)))
            thread.join()
        print(len(got[0]), open is io.open)
        """
        )
        == "1048576\n1048576 False\n"
    )


def test_original_modules_are_native_and_work() -> None:
    assert (
        run_script(
            """
        import threading, time, os
        native = monkey.original("threading")
        seen = []
        def work():
            seen.append((threading.get_native_id() != os.getpid(), native.current_thread().name))
        thread = native.Thread(target=work, name="a native one")
        thread.start()
        thread.join()
        print(seen, native is monkey.original("threading"))
        pool = monkey.original("concurrent.futures.thread").ThreadPoolExecutor(1)
        print(pool.submit(threading.get_native_id).result() != os.getpid())
        pool.shutdown()
        print(monkey.original("socket").socket.__module__, monkey.original("time").sleep)
        """
        )
        == "[(True, 'a native one')] True\nTrue\nsocket <built-in function sleep>\n"
    )


def test_a_library_that_is_imported_while_the_native_module_stands_in_has_native_threads(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(
        "import threading\n"
        "def ask(ask_native_id):\n"
        "    found, done = [], threading.Event()\n"
        "    threading.Thread(target=lambda: (found.append(ask_native_id()), done.set())).start()\n"
        "    assert done.wait(10)\n"
        "    return found\n"
    )
    assert (
        run_script(
            f"""
        import os, sys, threading
        import greenserve
        sys.path.insert(0, {str(tmp_path)!r})
        sys.modules["threading"] = monkey.original("threading")
        import library
        sys.modules["threading"] = threading
        print(greenserve.execute(library.ask, threading.get_native_id) == [os.getpid()])
        """
        )
        == "False\n"
    )


def test_the_original_of_a_package_has_its_modules() -> None:
    assert (
        run_script(
            """
        asyncio = monkey.original("asyncio")
        print(asyncio.run(asyncio.sleep(0, "done")), asyncio.base_events.__name__)
        """
        )
        == "done asyncio.base_events\n"
    )


def test_one_module_alone_can_be_patched() -> None:
    assert (
        run_script(
            """
        import time, threading, subprocess
        from greenserve import monkey
        import greenserve
        green = monkey.import_patched("threading")
        seen = []
        thread = green.Thread(target=seen.append, args=(threading.get_ident(),))
        thread.start()
        thread.join()
        run = monkey.import_patched("subprocess").run
        jobs = [greenserve.spawn(run, ["sleep", "0.3"]) for _ in range(5)]
        began = time.monotonic()
        print(seen == [threading.get_ident()], [job.wait().returncode for job in jobs], time.monotonic() - began < 1)
        print(threading.Thread is green.Thread, time.sleep, monkey.is_patched("threading"))
        """,
            patch=False,
        )
        == "True [0, 0, 0, 0, 0] True\nFalse <built-in function sleep> False\n"
    )


def test_a_script_runs_patched_with_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, time\nfrom helper import name\nprint(sys.argv[1:], __name__, name, time.sleep.__module__)\n"
    )
    (tmp_path / "helper.py").write_text("name = 'helper'\n")
    done = subprocess.run(
        [sys.executable, "-m", "greenserve.monkey", str(script), "a", "--b"],
        capture_output=True, text=True, timeout=30, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "['a', '--b'] __main__ helper greenserve.green.time\n"


def test_a_module_runs_patched(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys, time\nprint(sys.argv[1:], __name__, time.sleep.__module__)\n")
    done = subprocess.run(
        [sys.executable, "-m", "greenserve.monkey", "-m", "program", "a"],
        capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "['a'] __main__ greenserve.green.time\n"


def test_a_script_is_the_main_module_as_without_the_patch_and_stays_it_until_its_threads_have_ended(
    tmp_path: Path,
) -> None:
    (tmp_path / "program.py").write_text(
        "import atexit, pickle, sys, threading, time\n"
        "class Job: pass\n"
        "def tell(): print(type(pickle.loads(pickle.dumps(Job()))).__name__, flush=True)\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    tell()\n"
        "atexit.register(tell)\n"
        "threading.Thread(target=work).start()\n"
        "print(sys.argv, __file__, __spec__, __package__, __builtins__, flush=True)\n"
        "sys.exit(3)\n"
    )
    plain, patched = (
        subprocess.run(
            [sys.executable, *options, "program.py", "a"],
            capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        )
        for options in ([], ["-m", "greenserve.monkey"])
    )  # fmt: skip
    assert patched.stdout.splitlines()[1:] == ["Job", "Job"]
    assert (patched.returncode, patched.stdout, patched.stderr) == (3, plain.stdout, "")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.py"], 2, "can't open file"),
        (["-m", "nowhere"], 1, "No module named nowhere"),
        (["-m", "json.nowhere"], 1, "No module named json.nowhere"),
        (["-m", "xml"], 1, "No module named xml, or none that can be run"),
    ],
)
def test_a_program_that_is_not_there_is_told_of_in_a_line(arguments: list[str], code: int, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "greenserve.monkey", *arguments],
        capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_script_the_command_tells_its_usage() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "greenserve.monkey"], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "usage: python -m greenserve.monkey SCRIPT [ARGS]")


@pytest.mark.system
def test_patching_takes_under_80_milliseconds() -> None:
    """The median of 10 alternating pairs of a process that patches and one that does nothing.

    In CPU time, and the lowest of five medians: whatever else the machine does can only add to it.
    """
    medians = []
    for _ in range(5):
        differences = []
        for _ in range(10):
            began = cpu_of_children()
            run_script("", patch=False)
            between = cpu_of_children()
            run_script("")
            differences.append((cpu_of_children() - between) - (between - began))
        medians.append(statistics.median(differences))
        if medians[-1] < 0.080:
            break
    assert min(medians) < 0.080, json.dumps(medians)


def cpu_of_children() -> float:
    """Seconds of CPU that the processes started here and ended have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
