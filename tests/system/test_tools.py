"""Tools that people hold, in programs that are patched: debugpy, coverage, pytest, IPython."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.patched.running import ROOT
from tests.system.dap import Editor

pytestmark = pytest.mark.system

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *args],
        cwd=folder,
        env=ENVIRONMENT | {"HOME": str(folder), "IPYTHONDIR": str(folder)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def run(folder: Path, *args: str, typed: str = "") -> str:
    """Run Python with ``args`` in ``folder`` and return what it printed. It must succeed."""
    process = start(folder, *args)
    try:
        printed, _ = process.communicate(typed, timeout=50)
    finally:
        process.kill()
    assert process.returncode == 0, printed
    return printed


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return str(path)


DEBUGGED = """\
import sys, threading, time
if len(sys.argv) > 1:
    import debugpy
    debugpy.listen(("127.0.0.1", int(sys.argv[1])))
    debugpy.wait_for_client()
def work(n):
    m = n * 2
    time.sleep(0.02)
    m += 1
    return m
ticks = []
def tick():
    for _ in range(30):
        time.sleep(0.01)
        ticks.append(1)
results = []
def collect():
    results.append(work(20))
threads = [threading.Thread(target=target) for target in (tick, collect)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(results, len(ticks))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("way", ["listen", "-m debugpy"])
def test_debugpy_stops_in_a_green_thread_steps_over_a_switch_and_goes_on(way: str, tmp_path: Path) -> None:
    pytest.importorskip("debugpy")
    program, port = write(tmp_path, "debugged.py", DEBUGGED), str(free_port())
    listen = ["-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client"]
    args = [program, port] if way == "listen" else [*listen, program]
    process = start(tmp_path, "-X", "frozen_modules=off", "-m", "greenserve.monkey", *args)
    try:
        editor = Editor(int(port))
        try:
            editor.attach(program, 7)
            thread, reason, frame = editor.stopped()
            assert (reason, frame["name"], frame["line"]) == ("breakpoint", "work", 7)
            assert editor.ask("evaluate", expression="n + 1", frameId=frame["id"])["result"] == "21"
            for line in (8, 9):
                editor.ask("next", threadId=thread)
                thread, reason, frame = editor.stopped()
                assert (reason, frame["name"], frame["line"]) == ("step", "work", line)
            editor.ask("continue", threadId=thread)
            editor.event("terminated")
        finally:
            editor.close()
        printed, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert printed.splitlines()[-1] == "[41] 30"
    assert process.returncode == 0


COVERED = """\
import threading, time
import greenserve
def work(n):
    time.sleep(0.01)
    if n:
        return 1
    return 2
def never():
    return 3
def in_a_green_thread():
    greenserve.sleep(0.01)
    return 4
threads = [threading.Thread(target=work, args=(n,)) for n in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
greenserve.spawn(in_a_green_thread).wait()
"""


@pytest.mark.parametrize("order", [["greenserve.monkey", "coverage run"], ["coverage run", "greenserve.monkey"]])
def test_coverage_counts_the_lines_of_green_threads(order: list[str], tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    write(tmp_path, ".coveragerc", "[run]\nconcurrency = greenlet\n")
    write(tmp_path, "covered.py", COVERED)
    args = [part for tool in order for part in ("-m", *tool.split())]
    run(tmp_path, *args, "covered.py")
    report = run(tmp_path, "-m", "coverage", "report", "-m", "--include=covered.py")
    (line,) = [line for line in report.splitlines() if line.startswith("covered.py")]
    assert line.split()[1:] == ["18", "1", "94%", "9"]


TESTS = """
    import socket, threading, time

    import pytest

    @pytest.fixture
    def pair():
        with socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as client, server.accept()[0] as conn:
                yield client, conn

    def test_it_is_patched(pair):
        waiter = threading.Thread(target=pair[0].recv, args=(1,))
        waiter.start()
        time.sleep(0.01)
        pair[1].send(b"x")
        waiter.join()
        assert type(threading.Lock()).__module__ == "_thread" and socket.socket.__name__ == "GreenSocket"

    def test_output_is_captured(capfd, caplog):
        print("said")
        assert capfd.readouterr().out == "said\\n"

    def test_a_failure_is_told():
        error = []
        thread = threading.Thread(target=lambda: error.append(1 / 1))
        thread.start()
        thread.join()
        with pytest.raises(AssertionError):
            assert error == []

    @pytest.mark.timeout(20)
    def test_a_timeout_is_there():
        time.sleep(0.01)
"""


def test_pytest_runs_in_a_patched_program(tmp_path: Path) -> None:
    write(tmp_path, "test_patched.py", TESTS)
    args = ["-q", "-W", "error", "-p", "no:cacheprovider", "test_patched.py"]
    printed = run(tmp_path, "-m", "greenserve.monkey", "-m", "pytest", *args)
    assert "4 passed" in printed


def test_ipython_runs_commands_cells_and_coroutines(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    typed = "import time\ntime.sleep(0.01)\n1 + 1\nasync def f():\n    return 5\n\nawait f()\nexit\n"
    args = ["--no-banner", "--colors=NoColor", "--simple-prompt"]
    printed = run(tmp_path, "-m", "greenserve.monkey", "-m", "IPython", *args, typed=typed)
    assert "Out[3]: 2" in printed
    assert "Out[5]: 5" in printed
    command = "import threading; print(type(threading.Lock()))"
    printed = run(tmp_path, "-m", "greenserve.monkey", "-m", "IPython", "--no-banner", "-c", command)
    assert "_thread.allocate_lock" in printed


def test_an_embedded_ipython_lets_others_run_while_its_cells_wait(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    program = write(
        tmp_path,
        "embedding.py",
        """
        import threading, time, IPython
        ticks = []

        def tick():
            while True:
                time.sleep(0.01)
                ticks.append(1)

        threading.Thread(target=tick, daemon=True).start()
        IPython.embed(colors="NoColor", display_banner=False)
        print("afterwards")
        """,
    )
    typed = "time.sleep(0.2)\nlen(ticks) > 5\nexit\n"
    printed = run(tmp_path, "-m", "greenserve.monkey", program, typed=typed)
    assert "Out[2]: True" in printed
    assert printed.splitlines()[-1] == "afterwards"
