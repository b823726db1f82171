"""Reloads, upgrades and dying workers under clients that check every answer."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.supervisor.running import Clients, Master, running, wait_gone

pytestmark = pytest.mark.system


def reload_twenty_times(master: Master, clients: Clients) -> None:
    for _ in range(20):
        clients.wait_for_answers(20)
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)
    clients.wait_for_answers(20)


@pytest.mark.timeout(120)
def test_twenty_reloads_cost_no_request(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port) as clients:
        reload_twenty_times(master, clients)
        assert clients.failures == []
        assert len(clients.pids) > 20, "the workers were not replaced"


@pytest.mark.timeout(120)
def test_twenty_reloads_with_a_socket_for_each_worker_cost_no_request(tmp_path: Path) -> None:
    with (
        running(tmp_path, "shop:app", "--workers", "2", "--reuse-port") as master,
        Clients(master.port) as clients,
    ):
        reload_twenty_times(master, clients)
        assert clients.failures == []


@pytest.mark.timeout(120)
def test_five_upgrades_cost_no_request(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with (
        running(tmp_path, "shop:app", "--workers", "2", "--pidfile", str(pidfile)) as master,
        Clients(master.port) as clients,
    ):
        old = master.process.pid
        for count in range(5):
            clients.wait_for_answers(20)
            before = len(master.err)
            os.kill(old, signal.SIGUSR2)
            (started,) = master.err.wait_for(r"started a new master, process (\d+)", after=before)
            new = int(started[1])
            master.out.wait_for("greenserve .* serving", count + 2)
            assert (pidfile.read_text(), (tmp_path / "pid.2").read_text()) == (f"{old}\n", f"{new}\n")
            clients.wait_for_answers(20)
            os.kill(old, signal.SIGTERM)
            master.err.wait_for("this is the only master now", after=before)
            assert (pidfile.read_text(), (tmp_path / "pid.2").exists()) == (f"{new}\n", False)
            old = new
        clients.wait_for_answers(20)
        assert clients.failures == []
        os.kill(old, signal.SIGTERM)
        wait_gone(old)
    assert not pidfile.exists()


@pytest.mark.timeout(120)
def test_ten_killed_workers_cost_at_most_the_requests_that_they_had(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port, 6) as clients:
        workers = master.workers(count=2)
        for _ in range(10):
            clients.wait_for_answers(50)
            failed = len(clients.failures)
            before = len(master.err)
            os.kill(workers.pop(0), signal.SIGKILL)
            workers += master.workers(after=before)
            clients.wait_for_answers(50)
            # Each client has one connection, and the worker at most all of them.
            assert len(clients.failures) - failed <= 6
        assert all("reset" in line or "disconnected" in line for line in map(str.lower, clients.failures)), (
            clients.failures
        )
        master.err.wait_for("was killed by SIGKILL, which the master did not send", 10)


@pytest.mark.timeout(120)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_reloads_under_wrk_bring_no_error(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master:
        command = ["wrk", "-t1", "-c32", "-d12", f"http://127.0.0.1:{master.port}/"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
            reloads = 0
            while wrk.poll() is None:
                before = master.send(signal.SIGHUP)
                master.err.wait_for("the reload is done", after=before)
                reloads += 1
            assert wrk.stdout
            report = wrk.stdout.read()
    assert reloads >= 20
    assert "requests in" in report
    assert "Socket errors" not in report, report
    assert "Non-2xx" not in report, report
