"""A master with its workers, in short. What takes longer is in the tests beside this one, under the marker `system`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.supervisor.running import APP, running

# Says by which policy of the system's it runs.
POLICY = APP.replace("{os.getpid()}", "{os.sched_getscheduler(0)}")


def has_policies() -> bool:
    """Whether the system has the policy of workers, lets us choose it, and has not been told another one."""
    if shutil.which("chrt") is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    return subprocess.run(["chrt", "--batch", "0", "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


needs_policies = pytest.mark.skipif(not has_policies(), reason="no policy can be chosen here, or chrt is not installed")


def test_a_master_serves_with_its_workers_reloads_and_stops(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master:
        assert " with 2 workers (Ctrl-C stops)" in master.out.text
        old = master.workers(count=2)
        assert int(master.get().split()[0]) in old
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)
        master.err.wait_for("is gone", 2, before)  # until then the old ones may answer
        assert int(master.get().split()[0]) in master.workers(after=before, count=2)
        assert master.stop() == 0


def test_a_configuration_file_with_hooks_makes_a_master(tmp_path: Path) -> None:
    (tmp_path / "greenserve.conf.py").write_text(
        "def when_ready(server):\n    server.log.info('hooked %d', server.pid)\n"
    )
    with running(tmp_path, "shop:app") as master:
        master.err.wait_for(f"hooked {master.process.pid}")
        assert master.stop() == 0


def test_an_application_that_does_not_load_ends_the_master_with_one_clear_error(tmp_path: Path) -> None:
    with running(tmp_path, "shop:nothing", "--workers", "2", wait=False) as master:
        assert master.wait() == 1
        master.err.wait_for("^greenserve: can't load shop:nothing$")
        master.err.wait_for("'shop' has no 'nothing'")


@needs_policies
@pytest.mark.parametrize(
    ("args", "policy"),
    [((), "SCHED_BATCH"), (("--no-batch-scheduling",), "SCHED_OTHER")],
    ids=["by default", "turned off"],
)
def test_a_worker_that_wakes_lets_others_finish_unless_told_not_to(
    tmp_path: Path, args: tuple[str, ...], policy: str
) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", *args, app=POLICY) as master:
        assert master.get() == f"{getattr(os, policy)} /"


@needs_policies
def test_a_policy_that_somebody_chose_stays(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", app=POLICY, prefix=("chrt", "--idle", "0")) as master:
        assert master.get() == f"{os.SCHED_IDLE} /"
