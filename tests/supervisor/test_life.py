"""The life of a worker: why it is replaced, and that clients don't notice."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.supervisor.running import APP, ENDING, Clients, Master, ask, begin, running, wait_gone

pytestmark = pytest.mark.system

# Waits for the end of the request's body, and holds on to as much memory as the query says, in MiB.
GREEDY = APP.replace(
    "    body =",
    "    environ['wsgi.input'].read()\n"
    "    KEPT.append(b'x' * (1 << 20) * int(environ['QUERY_STRING'] or 0))\n"
    "    body =",
).replace("import os", "import os\nKEPT = []")


def test_a_worker_is_replaced_after_max_requests_and_no_request_is_lost(tmp_path: Path) -> None:
    args = ("--workers", "2", "--max-requests", "50", "--max-requests-jitter", "20")
    with running(tmp_path, "shop:app", *args) as master, Clients(master.port, 4) as clients:
        lines = master.err.wait_for(
            r"replacing worker . \(process \d+\): max_requests: it has served (\d+) requests", 4
        )
        assert all(int(line[1]) >= 50 for line in lines)
        master.workers(count=6)
        clients.wait_for_answers(10)
    assert clients.failures == []
    assert len(clients.pids) >= 4


def test_the_replacement_is_ready_before_the_old_one_leaves(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--max-requests", "2") as master:
        (old,) = master.workers()
        for _ in range(2):
            assert master.get() == f"{old} /"
        (new,) = master.workers(after=len(master.err.text[: master.err.text.index("is ready")].splitlines()) + 1)
        master.err.wait_for(rf"process {old}\) is gone")
        text = master.err.text
        assert text.index(f"(process {new}) is ready") < text.index(f"(process {old}) is gone")


def test_requests_that_still_run_count_as_websockets_do(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--max-requests", "2", app=GREEDY) as master:
        clients = [socket.create_connection(("127.0.0.1", master.port), timeout=30) for _ in range(2)]
        try:
            for client in clients:
                client.sendall(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            master.err.wait_for("max_requests: it has served 2 requests")
            master.workers(count=2)
            # They run on in the old worker.
            for client in clients:
                client.sendall(b"ab")
                assert client.recv(1000).endswith(b" /x")
        finally:
            for client in clients:
                client.close()


def test_a_worker_is_replaced_when_its_time_is_over(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--worker-lifetime", "1") as master:
        with Clients(master.port, 2) as clients:
            master.err.wait_for("worker_lifetime: it has run for 1 s", 2)
        assert clients.failures == []


def test_a_worker_is_replaced_when_it_has_grown_too_large(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", "--worker-max-rss", "200M", app=GREEDY) as master:
        (old,) = master.workers()
        before = len(master.err)
        assert master.get("/?250").endswith(" /")
        (line,) = master.err.wait_for(r"worker_max_rss: it uses (\d+) MiB", after=before)
        assert int(line[1]) >= 250
        assert master.workers(after=before) != [old]
        wait_gone(old)


def test_a_worker_that_somebody_terminates_is_replaced_and_no_request_is_lost(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2") as master, Clients(master.port, 4) as clients:
        (first, _) = master.workers(count=2)
        clients.wait_for_answers(20)
        before = len(master.err)
        os.kill(first, signal.SIGTERM)
        master.workers(after=before)
        clients.wait_for_answers(20)
        assert clients.failures == []


def test_a_worker_that_its_application_ends_is_replaced_while_it_finishes_its_requests(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "1", app=ENDING.replace("CODE", "3")) as master:
        (old,) = master.workers()
        before = len(master.err)
        with begin(master.port) as client:
            assert ask(master.port, "/exit")[0] == 503
            pattern = rf"WARNING.* \(process {old}\) leaves, since the application ends it by SystemExit\(3\)"
            master.err.wait_for(pattern, after=before)
            (new,) = master.workers(after=before)
            assert master.get() == f"{new} /"
            client.sendall(b"ab")
            assert client.recv(1000).endswith(b" /x")
        master.err.wait_for(rf"INFO.* \(process {old}\) ended with status 3")
        assert master.stop() == 0
        assert "ERROR" not in master.err.text


def test_with_preload_the_application_is_loaded_once_in_the_master(tmp_path: Path) -> None:
    app = APP.replace('body = f"{os.getpid()}', 'body = f"{LOADED_BY}').replace(
        "import os", "import os\nLOADED_BY = os.getpid()"
    )
    with running(tmp_path, "shop:app", "--workers", "2", "--preload", app=app) as master:
        assert {master.get() for _ in range(6)} == {f"{master.process.pid} /"}
        assert master.stop() == 0


def test_a_preloaded_application_that_fails_ends_the_master_before_any_fork(tmp_path: Path) -> None:
    args = ("shop:app", "--workers", "2", "--preload")
    with running(tmp_path, *args, app="1 / 0\n", wait=False) as master:
        assert master.wait() == 1
        master.err.wait_for("^greenserve: can't load shop:app$")
        master.err.wait_for("^ZeroDivisionError: division by zero$")
        assert "started worker" not in master.err.text


def replaced(master: Master, save: str) -> str:
    """Save the application, wait for the worker that follows, and return its answer."""
    before = len(master.err)
    (master.folder / "shop.py").write_text(save)
    master.err.wait_for("shop.py has changed", after=before)
    master.err.wait_for("the reload is done", after=before)
    master.err.wait_for("is gone", after=before)  # until then the old one may answer
    return ask_any(master)


def ask_any(master: Master) -> str:
    from_server = socket.create_connection(("127.0.0.1", master.port), timeout=30)
    with from_server, from_server.makefile("rb") as answer:
        from_server.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return answer.read().decode()


@pytest.mark.parametrize("engine", ["poll", "watchfiles"])
def test_under_reload_a_saved_file_is_served_a_broken_one_shown_and_the_next_save_tries_again(
    tmp_path: Path, engine: str
) -> None:
    with running(tmp_path, "shop:app", "--reload", "--reload-engine", engine) as master:
        assert ask_any(master).endswith(" /x")
        answer = replaced(master, APP.replace("{os.getpid()}", "second"))
        assert answer.endswith("second /x")
        answer = replaced(master, "import json\nthis is no Python\n")
        assert answer.startswith("HTTP/1.1 500 ")
        assert "SyntaxError" in answer
        assert "The next change of a file tries again." in master.err.text
        answer = replaced(master, APP.replace("{os.getpid()}", "third"))
        assert answer.endswith("third /x")


@pytest.mark.parametrize(("name", "args"), [("own.toml", ("--config", "own.toml")), ("greenserve.conf.py", ())])
def test_under_reload_a_change_of_the_configuration_counts_wherever_it_goes(
    tmp_path: Path, name: str, args: tuple[str, ...]
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "web.py").write_text(APP)
    (tmp_path / name).write_text("chdir = 'site'\n")
    with running(tmp_path, "web:app", "--reload", "--reload-engine", "poll", *args) as master:
        before = len(master.err)
        (tmp_path / name).write_text("chdir = 'site'\nworkers = 2\n")
        master.err.wait_for(rf"{name} has changed", after=before)
        master.err.wait_for("the reload is done: 2 new workers serve", after=before)


def test_under_reload_an_application_that_is_broken_from_the_start_is_shown(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--reload", "--reload-engine", "poll", app="1 / 0\n") as master:
        assert "ZeroDivisionError" in ask_any(master)
        assert replaced(master, APP).endswith(" /x")


def test_a_factory_makes_the_application_in_each_worker(tmp_path: Path) -> None:
    app = APP + "\ndef create_app():\n    return app\n"
    with running(tmp_path, "shop:create_app()", "--workers", "2", app=app) as master:
        assert master.get("/x").endswith(" /x")
