from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.machine import SERVER_CORE
from benchmarks.processes import LoadProgram, cpu_seconds, memory_of, run_pinned, start_pinned, stop_group, tree_of

WAIT_FOR_STDIN = "import sys; print('up', flush=True); sys.stdin.read()"


@pytest.fixture
def family():
    """A process with a child, both waiting for their stdin to end."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAIT_FOR_STDIN!r}])"
    process = start_pinned([sys.executable, "-c", code], SERVER_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"up\n"
        yield process
        stop_group(process)


def test_tree_holds_a_process_and_its_descendants_parents_first(family):
    tree = tree_of(family.pid)
    assert tree[0] == family.pid
    assert len(tree) == 2
    assert os.getpid() not in tree
    assert tree_of(os.getpid()).index(tree[0]) < tree_of(os.getpid()).index(tree[1])


def test_stopping_ends_the_descendants_too(family):
    stop_group(family)
    assert family.poll() is not None
    # The pipe ends only when its last writer, the child, has ended.
    assert family.stdout.read() == b""


def test_program_runs_on_its_core_alone():
    code = "import os; print(os.sched_getaffinity(0))"
    assert run_pinned([sys.executable, "-c", code], SERVER_CORE, timeout=20) == f"{{{SERVER_CORE}}}\n"


def test_program_has_its_own_limit_of_files():
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    process = start_pinned([sys.executable, "-c", code], SERVER_CORE, files=100, stdout=subprocess.PIPE)
    assert process.communicate(timeout=20)[0] == b"(100, 100)\n"


def test_program_that_fails_is_an_error_with_what_it_said():
    with pytest.raises(BenchmarkError, match="no luck"):
        run_pinned([sys.executable, "-c", "raise SystemExit('no luck')"], SERVER_CORE, timeout=20)


def test_program_that_takes_too_long_is_an_error():
    with pytest.raises(BenchmarkError, match="did not end"):
        run_pinned([sys.executable, "-c", "while True: pass"], SERVER_CORE, timeout=0.1)


def test_cpu_time_is_what_proc_says_in_ticks():
    code = "sum(range(10_000_000)); " + WAIT_FOR_STDIN
    process = start_pinned([sys.executable, "-c", code], SERVER_CORE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"up\n"
        seconds = cpu_seconds([process.pid])
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        stop_group(process)
    user, system = int(fields[11]), int(fields[12])
    assert seconds > 0.05
    # User and system are rounded down each, and it may run a little between the two readings.
    assert seconds == pytest.approx((user + system) / os.sysconf("SC_CLK_TCK"), abs=0.03)


def test_cpu_time_of_a_process_that_has_ended_is_an_error():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds([process.pid])


def test_memory_grows_with_what_a_process_writes():
    before = memory_of([os.getpid()])
    block = mmap.mmap(-1, 30_000_000)  # new pages, whatever the allocator has kept from before
    block.write(b"x" * len(block))
    after = memory_of([os.getpid()])
    assert len(block) <= after.private - before.private < 1.2 * len(block)
    assert len(block) <= after.resident - before.resident < 1.2 * len(block)


def test_load_program_is_told_words_and_reports_objects(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "echo_client.py").write_text(
        "from benchmarks.clients.lines import report, wait_told\n"
        "report(state='ready')\nwait_told()\nreport(state='told')\n"
    )
    with LoadProgram("echo_client") as program:
        assert program.wait_report(20) == {"state": "ready"}
        program.tell("go")
        assert program.wait_report(20) == {"state": "told"}
        with pytest.raises(BenchmarkError, match="without its report"):
            program.wait_report(20)


def test_load_program_that_stays_silent_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "silent_client.py").write_text("import sys; sys.stdin.read()")
    with LoadProgram("silent_client") as program, pytest.raises(BenchmarkError, match="reported nothing"):
        program.wait_report(0.05)
