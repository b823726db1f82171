"""The command, watched: alone and with workers, over the life of a worker, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.admin.watching import ask, read_events, wait_until
from tests.cli.running import LIFETIME, Command, run
from tests.docs.running import reserve_port
from tests.supervisor.running import wait_gone

START = Callable[..., Command]

APP = """
import time
import greenserve

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        greenserve.sleep(30)
    if path == "/block":
        end = time.perf_counter() + 0.8
        while time.perf_counter() < end:
            pass
    start_response("404 Not Found" if path == "/absent" else "200 OK", [("Content-Type", "text/plain")])
    return [environ.get("greenserve.request_id", "hello").encode()]
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[START]:
    (tmp_path / "shop.py").write_text(APP)
    commands: list[Command] = []

    def start(*args: str) -> Command:
        command = Command("shop:app", "--bind", "127.0.0.1:0", *args, cwd=tmp_path, stderr=tmp_path / "stderr")
        commands.append(command)
        return command

    yield start
    for command in commands:
        command.close()
    for file in tmp_path.glob("pid*"):  # of a master that an upgrade has started
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def requests(state: dict[str, Any]) -> int:
    return int(state["totals"]["requests"])


def ready(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [worker for worker in state["workers"] if worker["state"] == "ready"]


def test_one_process_is_watched_by_itself(start: START) -> None:
    metrics, admin = reserve_port(), reserve_port()
    command = start("--metrics-bind", f"127.0.0.1:{metrics}", "--admin-bind", f"127.0.0.1:{admin}")
    for _ in range(3):
        command.get()
    state = wait_until(admin, lambda state: requests(state) == 3)
    assert state["statuses"]["2xx"] == 3
    (worker,) = state["workers"]
    assert (worker["pid"], worker["state"]) == (command.process.pid, "ready")
    assert ask(metrics, "/healthz") == (200, "ok\n")
    assert ask(metrics, "/readyz") == (200, "ok\n")
    assert 'greenserve_requests_total{status="200"} 3\n' in ask(metrics, "/metrics")[1]
    assert command.stop()[0] == 0


def test_a_request_in_flight_is_shown_with_its_stack(start: START) -> None:
    admin = reserve_port()
    command = start("--admin-bind", f"127.0.0.1:{admin}")
    with socket.create_connection(("127.0.0.1", command.ports[0]), timeout=LIFETIME) as client:
        client.sendall(b"GET /slow?a=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        state = wait_until(admin, lambda state: bool(state["running"]))
    (request,) = state["running"]
    assert (request["method"], request["target"]) == ("GET", "/slow?a=1")
    assert "shop:8 in app" in request["stack"]


@pytest.mark.parametrize("option", [[], ["--block-warn", "300ms"]], ids=["the fact", "the watchdog"])
def test_a_blocked_hub_is_told_of_with_its_place_if_the_watchdog_looks(start: START, option: list[str]) -> None:
    admin = reserve_port()
    command = start("--admin-bind", f"127.0.0.1:{admin}", *option)
    command.get("/block")
    (block,) = wait_until(admin, lambda state: bool(state["blocks"]))["blocks"]
    if option:
        assert "has not run for 3" in block["text"]
        assert "in app" in block["text"]
    else:
        assert block["text"].startswith("nothing else could run for 0.")


def test_figures_add_up_over_workers_and_outlive_one_that_is_killed(start: START) -> None:
    metrics, admin = reserve_port(), reserve_port()
    command = start("--workers", "2", "--metrics-bind", f"127.0.0.1:{metrics}", "--admin-bind", f"127.0.0.1:{admin}")
    for _ in range(20):
        command.get()
    before = wait_until(admin, lambda state: requests(state) == 20)
    assert len(before["workers"]) == 2
    assert command.process.pid not in {worker["pid"] for worker in before["workers"]}
    killed = before["workers"][0]["pid"]
    os.kill(killed, signal.SIGKILL)

    def is_replaced(state: dict[str, Any]) -> bool:
        pids = [worker["pid"] for worker in state["workers"] if worker["state"] == "ready"]
        return len(pids) == 2 and killed not in pids and bool(state["ended"])

    after = wait_until(admin, is_replaced)
    assert requests(after) == 20
    assert sum(after["ended"].values()) == 1
    text = ask(metrics, "/metrics")[1]
    assert 'greenserve_workers{state="ready"} 2\n' in text
    assert "greenserve_worker_restarts_total{reason=" in text
    assert ask(metrics, "/readyz")[0] == 200
    command.get()
    wait_until(admin, lambda state: requests(state) == 21)
    assert command.stop()[0] == 0


def test_what_a_stopped_worker_counted_last_is_not_lost(start: START) -> None:
    admin = reserve_port()
    command = start("--workers", "1", "--admin-bind", f"127.0.0.1:{admin}")
    before = wait_until(admin, lambda state: [worker["state"] for worker in state["workers"]] == ["ready"])
    for _ in range(5):
        command.get()
    command.process.send_signal(signal.SIGHUP)  # at once: the last writing is that of the worker's end

    def is_replaced(state: dict[str, Any]) -> bool:
        pids = [worker["pid"] for worker in state["workers"]]
        return len(pids) == 1 and pids != [before["workers"][0]["pid"]]

    assert requests(wait_until(admin, is_replaced)) == 5


def test_figures_go_on_over_an_upgrade(start: START, tmp_path: Path) -> None:
    metrics, admin = reserve_port(), reserve_port()
    binds = ("--metrics-bind", f"127.0.0.1:{metrics}", "--admin-bind", f"127.0.0.1:{admin}")
    command = start("--workers", "1", "--pidfile", "pid", *binds)
    for _ in range(5):
        command.get()
    (killed,) = wait_until(admin, lambda state: requests(state) == 5)["workers"]
    os.kill(killed["pid"], signal.SIGKILL)
    wait_until(admin, lambda state: state["ended"] == {"killed": 1} and len(ready(state)) == 1)
    command.process.send_signal(signal.SIGUSR2)
    # While both masters live the old one shows the workers of both.
    both = ready(wait_until(admin, lambda state: len(ready(state)) == 2))
    assert both[0]["pid"] != both[1]["pid"]
    new = int((tmp_path / "pid.2").read_text())
    command.get()
    command.process.send_signal(signal.SIGTERM)
    assert command.process.wait(LIFETIME) == 0
    with socket.socket() as busy:
        # The new master has the addresses about a second after the old one has gone.
        while busy.connect_ex(("127.0.0.1", admin)):
            os.kill(new, 0)
    after = wait_until(admin, lambda state: requests(state) == 6 and len(ready(state)) == 1)
    assert ready(after)[0]["pid"] in {both[0]["pid"], both[1]["pid"]}
    assert after["ended"] == {"killed": 1, "stopped": 1}
    command.get()
    wait_until(admin, lambda state: requests(state) == 7)
    text = ask(metrics, "/metrics")[1]
    assert 'greenserve_requests_total{status="200"} 7\n' in text
    assert 'greenserve_worker_restarts_total{reason="killed"} 1\n' in text
    os.kill(new, signal.SIGTERM)
    wait_gone(new)


def test_who_looks_does_not_outlive_the_master_in_a_worker(start: START) -> None:
    """A worker that is forked while somebody looks inherits that connection's fd, and must give it up."""
    admin = reserve_port()
    command = start("--workers", "1", "--admin-bind", f"127.0.0.1:{admin}")
    events = read_events(admin)
    next(events)
    first = wait_until(admin, lambda state: [worker["state"] for worker in state["workers"]] == ["ready"])
    command.process.send_signal(signal.SIGHUP)
    wait_until(admin, lambda state: [w["pid"] for w in state["workers"]] != [first["workers"][0]["pid"]])
    worker = wait_until(admin, lambda state: len(state["workers"]) == 1)["workers"][0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    try:
        command.process.kill()
        with pytest.raises((StopIteration, OSError)):
            while True:
                next(events)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_statsd_is_sent_what_the_workers_count(start: START) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(LIFETIME)
        port = statsd.getsockname()[1]
        command = start("--statsd-host", f"127.0.0.1:{port}", "--statsd-prefix", "shop", "--dogstatsd-tags", "env:test")
        command.get("/")
        expected = {"shop.gunicorn.requests:1|c|#env:test", "shop.gunicorn.workers:1|g|#env:test"}
        while expected:
            expected -= set(statsd.recv(65536).decode().splitlines())


def test_unix_sockets_are_for_their_owner_and_go_with_the_server(start: START, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    command = start("--admin-bind", f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert command.stop()[0] == 0
    assert not path.exists()


@pytest.mark.parametrize("address", ["0.0.0.0:8001", ":8001", "192.0.2.1:8001", "[::]:8001", "example.org:8001"])
def test_a_page_that_others_could_reach_is_refused(address: str) -> None:
    done = run("--bind", "127.0.0.1:0", "--admin-bind", address)
    assert done.returncode == 1
    assert "others can reach that address" in done.stderr
    assert "--admin-public" in done.stderr


def test_with_admin_public_it_is_served(start: START) -> None:
    admin = reserve_port()
    start("--admin-bind", f"0.0.0.0:{admin}", "--admin-public")
    assert ask(admin, "/state.json")[0] == 200


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for workers in ([], ["--workers", "1"]):
            done = run("--bind", "127.0.0.1:0", "--metrics-bind", address, *workers)
            assert done.returncode == 1
            assert f"can't listen on {address}: it is in use" in done.stderr


def test_access_lines_of_the_command_are_json_with_ids_and_follow_a_rotation(start: START, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    command = start("--access-logfile", str(path), "--access-log-json", "--request-id")
    ids = [command.get()]
    path.rename(tmp_path / "old.log")
    command.process.send_signal(signal.SIGUSR1)
    # A signal is handled between two requests at the latest: by the third one the file is there.
    ids += [command.get(), command.get()]
    assert command.stop()[0] == 0
    lines = [
        json.loads(line) for name in ("old.log", "access.log") for line in (tmp_path / name).read_text().splitlines()
    ]
    assert [line["http.request.id"] for line in lines] == ids
    assert all(line["url.path"] == "/" and line["http.response.status_code"] == 200 for line in lines)


def test_log_config_of_the_command_sends_access_lines_where_it_says(start: START, tmp_path: Path) -> None:
    config = {
        "version": 1,
        "handlers": {"file": {"class": "greenserve.logs.BackgroundHandler", "filename": str(tmp_path / "all.log")}},
        "loggers": {"greenserve.access": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    (tmp_path / "logging.json").write_text(json.dumps(config))
    command = start("--log-config", "logging.json", "--access-logformat", "%(m)s %(U)s %(s)s")
    command.get()
    assert command.stop()[0] == 0
    assert (tmp_path / "all.log").read_text() == "GET / 200\n"


def test_a_log_that_takes_nothing_keeps_no_request_waiting(start: START, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)  # opened, and never read
    try:
        command = start("--access-logfile", str(tmp_path / "pipe"), "--access-logformat", "x" * 2000)
        done = threading.Event()

        def ask_often() -> None:
            for _ in range(200):  # 400 KB into a pipe of 64 KiB
                command.get()
            done.set()

        thread = threading.Thread(target=ask_often)
        thread.start()
        assert done.wait(LIFETIME)
        thread.join()
    finally:
        os.close(reader)
