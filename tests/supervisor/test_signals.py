"""What each signal to the master does, in real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment
from tests.supervisor.containers import as_process_1
from tests.supervisor.running import APP, DEADLINE, READING, Clients, Master, ask, begin, running, wait_gone

pytestmark = pytest.mark.system


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_running_requests_finish_and_refuses_new_connections(tmp_path: Path, number: int) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", app=READING) as master:
        workers = master.workers(count=2)
        with begin(master.port) as client:
            before = master.send(number)
            master.err.wait_for("stopping within 30 s; Ctrl-C or QUIT stops at once$", after=before)
            client.sendall(b"ab")
            with client.makefile("rb") as answer:
                assert answer.read().endswith(b" /x")
        assert master.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", master.port)).close()
        for pid in workers:
            wait_gone(pid)


@pytest.mark.parametrize(
    "numbers", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM, signal.SIGQUIT]]
)
def test_a_quit_and_a_second_interrupt_stop_at_once(tmp_path: Path, numbers: list[int]) -> None:
    args = ("--workers", "2", "--graceful-timeout", "1h")
    with running(tmp_path, "shop:app", *args, app=READING) as master, begin(master.port) as client:
        before = len(master.err)
        for number in numbers:
            master.send(number)
            master.err.wait_for("stopping", after=before)
        assert master.wait() == 0
        with client.makefile("rb") as answer:
            try:
                assert b" /x" not in answer.read()
            except ConnectionResetError:
                pass


def test_ttin_and_ttou_change_the_number_of_workers(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1") as master:
        (first,) = master.workers()
        before = master.send(signal.SIGTTIN)
        (second,) = master.workers(after=before)
        before = master.send(signal.SIGTTOU)
        master.err.wait_for(rf"process {second}\) is gone", after=before)
        master.send(signal.SIGTTOU)  # the last one stays
        assert {master.get() for _ in range(5)} == {f"{first} /"}


def test_winch_stops_the_workers_and_a_reload_starts_them_again(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master:
        before = master.send(signal.SIGWINCH)
        master.err.wait_for("is gone", 2, before)
        before = master.send(signal.SIGHUP)
        workers = master.workers(after=before, count=2)
        assert int(master.get().split()[0]) in workers


def test_where_winch_has_left_no_worker_ttou_starts_none_and_ttin_one(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master:
        before = master.send(signal.SIGWINCH)
        master.err.wait_for("is gone", 2, before)
        before = master.send(signal.SIGTTOU)
        master.send(signal.SIGTTIN)
        (only,) = master.workers(after=before)
        assert master.get() == f"{only} /"
        assert master.stop() == 0
        assert master.err.text.count("started worker") == 3


def test_usr1_opens_the_logs_of_all_processes_anew(tmp_path: Path) -> None:
    args = ("--workers", "1", "--error-logfile", "error.log", "--access-logfile", "access.log")
    with running(tmp_path, "shop:app", *args) as master:
        master.get("/before")
        while "/before" not in (tmp_path / "access.log").read_text():  # lines are written behind the answer
            master.get("/more")
        for name in ("error.log", "access.log"):
            (tmp_path / name).rename(tmp_path / f"{name}.1")
        master.send(signal.SIGUSR1)
        # The signal reaches the worker by way of the master: a stop comes behind it.
        pid = int(master.get("/after").split()[0])
        os.kill(pid, signal.SIGUSR1)
        while not (tmp_path / "access.log").exists():
            master.get("/again")
        assert master.stop() == 0
        assert "/before" in (tmp_path / "access.log.1").read_text()
        assert "stopped after" in (tmp_path / "error.log").read_text()


def test_a_reload_takes_the_settings_that_have_changed_and_keeps_what_is_not_right(tmp_path: Path) -> None:
    conf = tmp_path / "greenserve.conf.py"
    conf.write_text("workers = 1\nbind = ['127.0.0.1:0', 'unix:a.sock']\n")
    with running(tmp_path, "shop:app", "--config", conf.name, "--bind", "127.0.0.1:0") as master:
        conf.write_text("workers = 2\n")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done: 2 new workers serve", after=before)
        conf.write_text("workers = 'many'\n")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the settings stay as they were: workers = 'many'", after=before)
        master.err.wait_for("the reload is done: 2 new workers serve", after=before)
        assert master.get("/x").endswith(" /x")


def test_a_reload_listens_where_the_settings_now_say(tmp_path: Path) -> None:
    conf = tmp_path / "greenserve.conf.py"
    conf.write_text("workers = 1\nbind = ['unix:a.sock', 'unix:b.sock']\n")
    (tmp_path / "shop.py").write_text(APP)
    with running(tmp_path, "shop:app", "--bind", "unix:c.sock", wait=False) as idle:
        idle.stop(signal.SIGQUIT)
    master_args = [sys.executable, "-m", "greenserve", "shop:app"]
    with subprocess.Popen(
        master_args, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            assert "unix:a.sock and unix:b.sock" in process.stdout.readline()
            with socket.socket(socket.AF_UNIX) as kept:
                kept.connect(str(tmp_path / "b.sock"))
                inode = (tmp_path / "b.sock").stat().st_ino
                conf.write_text("workers = 1\nbind = ['unix:b.sock', 'unix:d.sock']\n")
                process.send_signal(signal.SIGHUP)
                with socket.socket(socket.AF_UNIX) as new:
                    new.settimeout(DEADLINE)
                    while new.connect_ex(str(tmp_path / "d.sock")):
                        assert process.poll() is None
                    new.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    with new.makefile("rb") as answer:
                        assert answer.read().endswith(b" /x")
            assert (tmp_path / "b.sock").stat().st_ino == inode, "a socket that is kept is not made anew"
            assert not (tmp_path / "a.sock").exists()
        finally:
            process.terminate()
            process.wait(DEADLINE)
    assert not (tmp_path / "b.sock").exists()


def test_a_new_master_that_does_not_start_leaves_the_old_one_serving(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--pidfile", "pid") as master:
        (tmp_path / "shop.py").write_text("raise RuntimeError('a bad release')\n")
        before = master.send(signal.SIGUSR2)
        master.err.wait_for("RuntimeError: a bad release", after=before)
        master.err.wait_for(r"the new master, process \d+, ended with status 1; this one serves on", after=before)
        assert master.get("/x").endswith(" /x")
        assert (tmp_path / "pid").read_text() == f"{master.process.pid}\n"
        assert not (tmp_path / "pid.2").exists()
        assert master.stop() == 0
        assert not (tmp_path / "pid").exists()


def test_what_keeps_a_new_master_from_being_run_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    with running(folder, "shop:app", "--workers", "1") as master:
        folder.rename(tmp_path / "another")
        before = master.send(signal.SIGUSR2)
        master.err.wait_for(rf"can't start a new master: .*No such file or directory: '{folder}'", after=before)
        master.err.wait_for(r"the new master, process \d+, ended with status 127; this one serves on", after=before)
        assert master.get("/x").endswith(" /x")
        assert master.stop() == 0


def upgrade(master: Master) -> int:
    """Start a new master beside this one, and return its process once it serves."""
    served = len(master.out)
    before = master.send(signal.SIGUSR2)
    (started,) = master.err.wait_for(r"started a new master, process (\d+)", after=before)
    master.out.wait_for("greenserve .* serving", after=served)
    return int(started[1])


def end_upgraded(new: int) -> None:
    os.kill(new, signal.SIGTERM)
    wait_gone(new)


def test_a_new_master_is_the_only_one_once_the_old_one_has_gone_also_without_a_pid_file(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1") as master:
        new = upgrade(master)
        assert master.stop() == 0
        master.err.wait_for(rf"\[{new}\] \[INFO\] this is the only master now")
        assert master.get("/x").endswith(" /x")
        end_upgraded(new)


def test_a_pid_file_that_can_not_get_its_name_ends_nobody(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--pidfile", "pid") as master:
        new = upgrade(master)
        (tmp_path / "pid").unlink()
        (tmp_path / "pid").mkdir()
        assert master.stop() == 0
        master.err.wait_for(r"the PID file stays .*/pid\.2: Is a directory")
        assert master.get("/x").endswith(" /x")
        end_upgraded(new)
    assert not (tmp_path / "pid.2").exists()


def test_going_back_is_to_end_the_new_master_and_then_another_one_may_be_started(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--pidfile", "pid") as master:
        new = upgrade(master)
        before = master.send(signal.SIGUSR2)
        master.err.wait_for("there is another master beside this one already", after=before)
        before = len(master.err)
        os.kill(new, signal.SIGUSR2)
        master.err.wait_for(rf"\[{new}\] .* there is another master beside this one already", after=before)
        end_upgraded(new)
        master.err.wait_for(rf"the new master, process {new}, ended with status 0; this one serves on")
        assert master.get("/x").endswith(" /x")
        newer = upgrade(master)
        assert newer != new
        assert master.stop() == 0
        master.err.wait_for("this is the only master now")
        assert (tmp_path / "pid").read_text() == f"{newer}\n"
        end_upgraded(newer)


def test_a_stop_during_an_upgrade_leaves_the_service_to_the_new_master_and_costs_no_request(tmp_path: Path) -> None:
    # The new worker is let go once the old master has gone.
    (tmp_path / "greenserve.conf.py").write_text(
        "import os\n\ndef post_fork(server, worker):\n    if os.path.exists('gate'):\n        open('gate').close()\n"
    )
    with running(tmp_path, "shop:app", "--workers", "1") as master, Clients(master.port, 2) as clients:
        os.mkfifo(tmp_path / "gate")
        before = master.send(signal.SIGUSR2)
        (started,) = master.err.wait_for(r"started a new master, process (\d+)", after=before)
        master.err.wait_for(rf"\[{started[1]}\] .* started worker 1", after=before)
        assert master.stop() == 0
        with (tmp_path / "gate").open("w"):
            pass
        clients.wait_for_answers(20)
        assert clients.failures == []
        end_upgraded(int(started[1]))


def test_reloads_that_come_faster_than_workers_start_end_in_one_set_of_workers(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port, 4) as clients:
        before = len(master.err)
        for _ in range(10):
            master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done: 2 new workers serve", after=before)
        clients.wait_for_answers(50)
        assert clients.failures == []
        assert master.stop() == 0
    text = master.err.text
    assert text.count("] started worker ") == text.count(" is gone") + text.count(" was killed by SIGTERM")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_before_any_worker_is_ready_is_a_stop(tmp_path: Path, number: int) -> None:
    os.mkfifo(tmp_path / "gate")  # nobody ever writes to it
    app = "open('gate').close()\n" + APP
    with running(tmp_path, "shop:app", "--workers", "2", app=app, wait=False) as master:
        master.err.wait_for("started worker", 2)
        assert master.stop(number) == 0


def test_hooks_are_called_in_their_order_in_their_processes(tmp_path: Path) -> None:
    arguments = {
        "on_starting": "s", "when_ready": "s", "on_reload": "s", "pre_fork": "s, w", "post_fork": "s, w",
        "post_worker_init": "w", "worker_int": "w", "pre_request": "w, r", "post_request": "w, r, e, a",
        "child_exit": "s, w", "worker_exit": "s, w", "nworkers_changed": "s, new, old", "on_exit": "s",
    }  # fmt: skip
    text = "import os\ndef note(*words):\n    with open('notes', 'a') as file:\n        print(*words, file=file)\n"
    for name, names in arguments.items():
        extra = {"post_request": ", r.method, r.path, a.status, a.sent", "nworkers_changed": ", new, old"}.get(name, "")
        text += f"def {name}({names}):\n    note({name!r}, os.getpid(){extra})\n"
    (tmp_path / "greenserve.conf.py").write_text(text + "workers = 1\n")
    with running(tmp_path, "shop:app") as master:
        body = master.get("/x")
        assert master.stop(signal.SIGQUIT) == 0
        m, w = master.process.pid, int(body.split()[0])
    notes = (tmp_path / "notes").read_text().splitlines()
    # Two processes write at once: each one's notes are in order.
    assert [note for note in notes if note.split()[1] == str(m)] == [
        f"on_starting {m}", f"nworkers_changed {m} 1 None", f"pre_fork {m}", f"when_ready {m}", f"child_exit {m}",
        f"on_exit {m}",
    ]  # fmt: skip
    assert [note for note in notes if note.split()[1] == str(w)] == [
        f"post_fork {w}", f"post_worker_init {w}", f"pre_request {w}",
        f"post_request {w} GET /x 200 OK {len(body)}", f"worker_int {w}", f"worker_exit {w}",
    ]  # fmt: skip


def test_the_service_manager_is_told_of_start_reload_and_stop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(DEADLINE)
        manager.bind(str(tmp_path / "notify"))
        env = {**environment(), "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
        with running(tmp_path, "shop:app", "--workers", "1", env=env) as master:

            def next_message(but: bytes = b"WATCHDOG=1") -> bytes:
                while (message := manager.recv(1000)) == but:
                    pass
                return message

            assert next_message() == f"READY=1\nMAINPID={master.process.pid}\nSTATUS=1 worker".encode()
            assert manager.recv(1000) == b"WATCHDOG=1"
            master.send(signal.SIGHUP)
            assert next_message().startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert next_message().startswith(b"READY=1\n")
            master.send(signal.SIGTERM)
            assert next_message() == b"STOPPING=1"
            assert master.wait() == 0


# Does what systemd does: the socket becomes number 3, and the process is told so by its own number.
ACTIVATE = """
import os, socket, sys
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "greenserve", *sys.argv[1:]])
"""


@pytest.mark.parametrize("args", [[], ["--workers", "2"]])
def test_it_serves_on_the_sockets_that_the_service_manager_opened(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "activate.py").write_text(ACTIVATE)
    with subprocess.Popen(
        [sys.executable, "activate.py", "shop:app", *args],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            port = int(process.stdout.readline())
            assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
                client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                with client.makefile("rb") as answer:
                    assert answer.read().endswith(b" /x")
        finally:
            process.terminate()
            assert process.wait(DEADLINE) == 0


def test_an_upgrade_keeps_the_sockets_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "activate.py").write_text(ACTIVATE)
    with subprocess.Popen(
        [sys.executable, "activate.py", "shop:app", "--workers", "1", "--pidfile", "pid"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        process.send_signal(signal.SIGUSR2)
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        new = int((tmp_path / "pid.2").read_text())
        try:
            process.terminate()
            assert process.wait(DEADLINE) == 0
            assert ask(port, "/x")[1].endswith(" /x")
        finally:
            os.kill(new, signal.SIGTERM)
            wait_gone(new)
    assert not (tmp_path / "pid").exists()


# A daemon's way: the grandchild is left to process 1, and ends.
ORPHAN = """
import os, subprocess
def app(environ, start_response):
    if environ["PATH_INFO"] == "/orphan":
        subprocess.run(["sh", "-c", "sleep 0 & exit 0"], check=True)
    states = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    states.append(file.read().rpartition(")")[2].split()[0])
            except OSError:
                pass
    body = "".join(sorted(states)).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize("args", [[], ["--workers", "1"]], ids=["without workers", "with workers"])
def test_as_process_1_it_reaps_strangers(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "shop.py").write_text(ORPHAN)
    with subprocess.Popen(
        [*as_process_1(), sys.executable, "-m", "greenserve", "shop:app", "--bind", "127.0.0.1:0", *args],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout
            line = process.stdout.readline()
            port = int(line.partition("127.0.0.1:")[2].partition("/")[0])

            def states(path: str) -> str:
                with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
                    client.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
                    with client.makefile("rb") as answer:
                        return answer.read().rpartition(b"\r\n")[2].decode()

            for _ in range(5):
                assert states("/orphan"), "the application sees the end of its own child"
            while len(states("/")) > 2:  # the master, and the worker
                assert process.poll() is None
        finally:
            process.kill()
