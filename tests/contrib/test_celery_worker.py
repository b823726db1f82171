"""A real Celery worker with our pool, and a real Redis between it and the tasks' senders."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.contrib.programs import LIFETIME, Program, environment
from tests.servers import redis

pytestmark = pytest.mark.system

TASKS = """
import os, time
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from greenserve import monkey

app = Celery("work", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True

@app.task
def is_patched():
    return [monkey.is_patched(part) for part in ("socket", "thread", "time")]

@app.task
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.task(bind=True, max_retries=3)
def third_time(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries

@app.task(soft_time_limit=0.2)
def gives_up():
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "gave up"

@app.task(time_limit=0.2)
def takes_too_long():
    time.sleep(30)

@app.task
def fails():
    raise LookupError("of the task")
"""


class Setting:
    """A worker, and a way to ask something of it: in a process of its own, as another service would."""

    def __init__(self, folder: Path, broker: str) -> None:
        (folder / "work.py").write_text(TASKS)
        self.folder = folder
        self.env = environment(BROKER=broker)
        self.worker = Program.of_python(
            *("-m", "celery", "-A", "work", "worker", "-P", "custom", "-c", "60", "-l", "info", "-n", "test@host"),
            cwd=folder,
            env={**self.env, "CELERY_CUSTOM_WORKER_POOL": "greenserve.contrib.celery:TaskPool"},
        )

    def ask(self, script: str) -> Any:
        """Run ``script``, which has everything of the tasks' module, and return what it leaves in ``answer``."""
        code = f"import json\nfrom work import *\n{textwrap.dedent(script)}\nprint(json.dumps(answer))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=LIFETIME, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{self.worker.output}"
        return json.loads(done.stdout)


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    with redis() as port:
        made = Setting(tmp_path, f"redis://127.0.0.1:{port}/0")
        with made.worker:
            made.worker.wait_for(r"test@host ready")
            yield made


def test_tasks_that_wait_do_so_at_the_same_time(setting: Setting) -> None:
    took, results = setting.ask(
        """
        began = time.monotonic()
        results = [nap.delay(0.5) for _ in range(50)]
        results = [result.get(timeout=30) for result in results]
        answer = time.monotonic() - began, results
        """
    )
    assert results == [0.5] * 50
    assert took < 10.0  # one after the other: 25 s


def test_retries_limits_and_failures(setting: Setting) -> None:
    assert setting.ask("answer = is_patched.delay().get(timeout=30)") == [True, True, True]
    results = setting.ask(
        """
        results = [task.delay() for task in (third_time, gives_up, takes_too_long, fails)]
        results.append(nap.apply_async((0,), countdown=0.3))
        answer = [repr(result.get(timeout=30, propagate=False)) for result in results]
        """
    )
    assert results == ["2", "'gave up'", "TimeLimitExceeded(0.2)", "LookupError('of the task')", "0"]
    setting.worker.wait_for(r"Soft time limit \(0\.2s\) exceeded for work\.gives_up")
    setting.worker.wait_for(r"Hard time limit \(0\.2s\) exceeded for work\.takes_too_long")


def test_a_running_task_can_be_revoked_and_the_worker_tells_what_it_does(setting: Setting) -> None:
    answer = setting.ask(
        """
        result = nap.delay(40)
        inspect = app.control.inspect(["test@host"], timeout=5, limit=1)
        while not any(task["id"] == result.id for task in (inspect.active() or {}).get("test@host", [])):
            pass
        running = inspect.stats()["test@host"]["pool"]
        result.revoke(terminate=True)
        state = repr(result.get(timeout=30, propagate=False))
        after = inspect.stats()["test@host"]["pool"]
        answer = running, state, after
        """
    )
    running, state, after = answer
    assert (running["max-concurrency"], running["running-threads"], running["free-threads"]) == (60, 1, 59)
    assert state == "TaskRevokedError('terminated')"
    assert after["running-threads"] == 0


def test_term_lets_tasks_end(setting: Setting) -> None:
    task = setting.ask("answer = nap.delay(1.5).id")
    setting.worker.wait_for(r"Task work\.nap\[[^]]+\] received")
    assert setting.worker.stop(signal.SIGTERM) == 0
    assert f"Task work.nap[{task}] succeeded" in setting.worker.output


def test_a_second_signal_does_not_wait_for_tasks(setting: Setting) -> None:
    setting.ask("answer = nap.delay(40).id")
    setting.worker.wait_for(r"Task work\.nap\[[^]]+\] received")
    began = monotonic()
    setting.worker.send(signal.SIGQUIT)
    setting.worker.wait()
    assert monotonic() - began < 25.0
    assert "succeeded" not in setting.worker.output
