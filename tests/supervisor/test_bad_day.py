"""What an operator meets on a bad day: each has its clear line, and ends as it should."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.servers import temporary_place
from tests.supervisor.running import APP, READING, Clients, begin, running, wait_gone

pytestmark = pytest.mark.system


def test_a_port_that_is_taken_is_one_line_and_no_worker(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with running(tmp_path, "shop:app", "--workers", "2", "--bind", address, wait=False) as master:
            assert master.wait() == 1
            master.err.wait_for(f"^greenserve: can't listen on {address}: it is in use$")
            assert len(master.err) == 1


def _obey_permissions() -> None:
    """Let root have no more rights than the modes of files give it. Source: prctl(2), capabilities(7)."""
    if os.geteuid() == 0:
        drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
        libc = ctypes.CDLL(None)
        for capability in (dac_override, dac_read_search):
            libc.prctl(drop_from_bounding_set, capability, 0, 0, 0)


def test_no_permission_on_the_folder_of_the_socket_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    args = ("shop:app", "--workers", "2", "--bind", f"unix:{folder}/a.sock")
    with running(tmp_path, *args, wait=False, preexec_fn=_obey_permissions) as master:
        assert master.wait() == 1
        master.err.wait_for(r"^greenserve: can't listen on unix:.*/a.sock: no permission$")


def test_an_application_that_fails_to_import_ends_the_master_with_its_traceback_once(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "3", app="import json\n1 / 0\n", wait=False) as master:
        assert master.wait() == 1
        master.err.wait_for("^greenserve: ")
        master.err.wait_for("^ZeroDivisionError")
        text = master.err.text[master.err.text.index("\ngreenserve: ") :]
        assert text.count("ZeroDivisionError: division by zero") == 1
        assert 'shop.py", line 2, in <module>' in text
        assert len(master.err.wait_for("started worker", 3)) == 3, "one attempt for each place"


FAILS_IN_ONE = f"""
import os
try:
    os.mkdir("first")
except FileExistsError:
    try:
        os.mkdir("second")
    except FileExistsError:
        pass
    else:
        raise RuntimeError("the second one fails")
{APP}
"""


def test_an_application_that_fails_in_one_worker_only_is_served_by_the_other_until_that_place_is_filled(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", app=FAILS_IN_ONE) as master:
        # The master says that it serves once both places are filled.
        master.err.wait_for("RuntimeError: the second one fails")
        assert len(master.err.wait_for("started worker", 3)) == 3
        assert master.get("/x").endswith(" /x")


def test_a_worker_that_cannot_start_after_a_reload_leaves_the_old_ones_serving(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port, 2) as clients:
        old = set(master.workers(count=2))
        (tmp_path / "shop.py").write_text("raise RuntimeError('broken by the deployment')\n")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("RuntimeError: broken by the deployment", 2, before)
        clients.wait_for_answers(20)
        assert clients.pids.keys() <= old
        (tmp_path / "shop.py").write_text(APP + "\n# mended\n")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)
        clients.wait_for_answers(20)
        assert clients.failures == []
        assert not clients.pids.keys() <= old


# Read before the server captures the clock: the wall clock goes back by a day as soon as there is a file.
CLOCK = """
import os, time
_time = time.time
time.time = lambda: _time() - 86400 * os.path.exists("set-back")
"""


def test_a_clock_that_is_set_back_ends_no_worker(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    env = environment()
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    with running(tmp_path, "shop:app", "--workers", "2", "--timeout", "1", env=env) as master:
        workers = set(master.workers(count=2))
        (tmp_path / "set-back").touch()
        with Clients(master.port, 2) as clients:
            while sum(clients.pids.values()) < 200:
                clients.wait_for_answers(50)
        assert clients.failures == []
        # Another two beats of the master, and the workers are still those.
        before = master.send(signal.SIGTTIN)
        (new,) = master.workers(after=before)
        assert {int(master.get().split()[0]) for _ in range(12)} <= {*workers, new}
        assert master.stop() == 0
        assert "not answered" not in master.err.text


def test_with_a_limit_of_64_files_it_serves_requests_in_parallel(tmp_path: Path) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (64, 64))
    args = ("--workers", "1", "--metrics-bind", f"unix:{tmp_path}/metrics.sock")
    # Each request has another file open, as for a database.
    app = READING.replace("    environ['wsgi.input']", "    with open(os.devnull): environ['wsgi.input']")
    with running(tmp_path, "shop:app", *args, app=app, preexec_fn=limit) as master, ExitStack() as connections:
        # All of them run before the first one ends.
        clients = [connections.enter_context(begin(master.port)) for _ in range(20)]
        for client in clients:
            client.sendall(b"ab")
        assert [client.recv(1000).endswith(b" /x") for client in clients] == [True] * 20


def test_with_a_limit_of_64_files_connections_beyond_it_wait_and_a_reload_goes_well(tmp_path: Path) -> None:
    limit = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (64, 64))
    with running(tmp_path, "shop:app", "--workers", "2", preexec_fn=limit) as master, ExitStack() as connections:
        for _ in range(100):
            connections.enter_context(socket.create_connection(("127.0.0.1", master.port)))
        connections.close()
        with Clients(master.port, 6) as clients:
            clients.wait_for_answers(50)
            before = master.send(signal.SIGHUP)
            master.err.wait_for("the reload is done", after=before)
            clients.wait_for_answers(50)
        assert clients.failures == []
        assert "accept failed" not in master.err.text
        assert master.stop() == 0


def test_with_a_full_disk_for_the_logs_every_request_is_answered_and_reloads_and_stops_go_on(tmp_path: Path) -> None:
    args = ("--workers", "2", "--error-logfile", "/dev/full", "--access-logfile", "/dev/full", "--pidfile", "pid")
    with running(tmp_path, "shop:app", *args) as master, Clients(master.port, 4) as clients:
        clients.wait_for_answers(100)
        old = set(clients.pids)
        master.send(signal.SIGHUP)
        while len(clients.pids.keys() - old) < 2:
            clients.wait_for_answers(20)
        assert clients.failures == []
        master.send(signal.SIGUSR1)
        clients.wait_for_answers(20)
        clients.stop()
        assert master.stop() == 0
    assert clients.failures == []
    assert len(master.err) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_workers_that_are_not_root_can_go_on_with_logs_that_were_moved_away() -> None:
    args = ("--workers", "1", "--user", "nobody", "--error-logfile", "error", "--access-logfile", "access", "--preload")
    with temporary_place() as place:
        folder = Path(place.directory)
        with running(folder, "shop:app", *args) as master:
            worker = int(master.get("/x").split()[0])
            for name in ("error", "access"):
                (folder / name).rename(folder / f"{name}.1")
            master.send(signal.SIGUSR1)
            while not (folder / "access").exists() or "/x" not in (folder / "access").read_text():
                master.get("/x")
            assert master.stop() == 0
        assert f"[{worker}] [INFO] stopped after" in (folder / "error").read_text()
        nobody = pwd.getpwnam("nobody").pw_uid
        assert {(folder / name).stat().st_uid for name in ("error", "access")} == {nobody}


def test_a_hook_that_fails_before_a_fork_ends_nobody_who_serves_and_is_tried_again(tmp_path: Path) -> None:
    hook = (
        "def pre_fork(server, worker):\n    if os.path.exists('broken'):\n        raise RuntimeError('no database')\n"
    )
    (tmp_path / "greenserve.conf.py").write_text(f"import os\n{hook}")
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port, 2) as clients:
        (first, _) = master.workers(count=2)
        (tmp_path / "broken").touch()
        before = len(master.err)
        os.kill(first, signal.SIGTERM)
        master.err.wait_for("can't fork a worker: the hook pre_fork failed; trying again in 1 s", after=before)
        master.err.wait_for("RuntimeError: no database", after=before)
        clients.wait_for_answers(20)
        (tmp_path / "broken").unlink()
        master.workers(after=before)
        assert clients.failures == []
        assert master.stop() == 0


def test_a_hook_that_fails_before_the_first_fork_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "greenserve.conf.py").write_text(
        "def pre_fork(server, worker):\n    raise RuntimeError('no database')\n"
    )
    with running(tmp_path, "shop:app", "--workers", "2", wait=False) as master:
        assert master.wait() == 1
        master.err.wait_for("^RuntimeError: no database$")


def test_a_stopped_worker_is_replaced_and_the_other_serves_meanwhile(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", "--timeout", "2") as master:
        stopped, other = master.workers(count=2)
        os.kill(stopped, signal.SIGSTOP)
        # Whatever of its connections it had accepted is lost with it; new ones are the other's.
        before = len(master.err)
        master.err.wait_for(rf"process {stopped}\) has not answered for .* s, and is replaced", after=before)
        (new,) = master.workers(after=before)
        wait_gone(stopped)
        assert {int(master.get().split()[0]) for _ in range(20)} <= {other, new}
        assert master.stop() == 0


def test_a_worker_whose_application_blocks_the_hub_shows_where_and_is_replaced(tmp_path: Path) -> None:
    app = APP.replace("    body =", "    if environ['PATH_INFO'] == '/block':\n        while True: pass\n    body =")
    with running(tmp_path, "shop:app", "--workers", "1", "--timeout", "1", app=app) as master:
        (old,) = master.workers()
        before = len(master.err)
        with socket.create_connection(("127.0.0.1", master.port), timeout=30) as client:
            client.sendall(b"GET /block HTTP/1.1\r\nHost: x\r\n\r\n")
            (new,) = master.workers(after=before)
            master.err.wait_for("this worker's hub is blocked, here:", after=before)
            master.err.wait_for(r"shop.py\", line \d+, in app", after=before)
            assert client.recv(100) == b""
        assert master.get() == f"{new} /"
        assert new != old


def test_the_workers_of_a_killed_master_finish_their_requests_and_leave(tmp_path: Path) -> None:
    app = APP.replace("    body =", "    environ['wsgi.input'].read()\n    body =")
    with running(tmp_path, "shop:app", "--workers", "2", app=app) as master:
        workers = master.workers(count=2)
        with socket.create_connection(("127.0.0.1", master.port), timeout=30) as client:
            client.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            master.process.kill()
            master.err.wait_for("the master is gone: this worker leaves, too", 2)
            client.sendall(b"ab")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b" /x")
        for pid in workers:
            wait_gone(pid)


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path) -> None:
    app = "import atexit, signal\natexit.register(signal.pause)\n" + APP
    with running(tmp_path, "shop:app", "--workers", "1", "--graceful-timeout", "0.1", app=app) as master:
        (pid,) = master.workers()
        before = master.send(signal.SIGTERM)
        master.err.wait_for(rf"process {pid}\) does not end: killing it", after=before)
        assert master.wait() == 0


def test_the_master_says_when_a_worker_was_killed_perhaps_for_memory(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1") as master:
        (pid,) = master.workers()
        os.kill(pid, signal.SIGKILL)
        (line,) = master.err.wait_for(rf"process {pid}\) was killed by SIGKILL, which the master did not send")
        assert "by the kernel for memory (it used " in line.string
