"""gunicorn's worker under a real gunicorn."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from tests.certificates import asking_context, write_files
from tests.contrib.programs import LIFETIME, Program, environment

pytestmark = pytest.mark.system

Start = Callable[..., Program]

APP = """
import os, sys, time
from greenserve import monkey

TEXT = "one"

def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/pid":
        return [str(os.getpid()).encode()]
    if path == "/sleep":
        time.sleep(0.5)
        return [b"slept"]
    if path == "/slow":
        return slow()
    if path == "/block":
        monkey.original("time").sleep(60)
    if path == "/environ":
        names = ("REMOTE_ADDR", "wsgi.url_scheme", "wsgi.multiprocess", "SERVER_SOFTWARE")
        return ["|".join(str(environ[name]).partition("/")[0] for name in names).encode()]
    return [TEXT.encode()]

def slow():
    yield b"begun,"
    time.sleep(0.7)
    yield b"ended"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start gunicorn with our worker on a free port."""
    (tmp_path / "guest.py").write_text(APP)
    started: list[Program] = []

    def run(*options: str, bind: str = "127.0.0.1:0", control: bool = False) -> Program:
        arguments = ["-k", "greenserve.contrib.gunicorn.Worker", "--bind", bind, "--worker-tmp-dir", str(tmp_path)]
        program = Program.of_python(
            "-W", "error", "-m", "gunicorn", *arguments, *([] if control else ["--no-control-socket"]), *options,
            "guest:app", cwd=tmp_path, env=environment(PYTHONDONTWRITEBYTECODE="1"),
        )  # fmt: skip
        started.append(program)
        program.wait_for("Booting worker")
        return program

    yield run
    for program in started:
        program.__exit__()


def port_of(program: Program) -> int:
    return int(program.wait_for(r"Listening at: https?://127\.0\.0\.1:(\d+)[ ,]")[1])


def connect(program: Program) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port_of(program), timeout=LIFETIME)


def fetch(program: Program, path: str, **headers: str) -> str:
    connection = connect(program)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()
    finally:
        connection.close()


def test_requests_that_sleep_do_so_at_the_same_time(start: Start) -> None:
    program = start()
    fetch(program, "/")
    began = monotonic()
    with ThreadPoolExecutor(50) as pool:
        bodies = list(pool.map(lambda _: fetch(program, "/sleep"), range(50)))
    assert bodies == ["slept"] * 50
    assert monotonic() - began < 5.0  # one after the other: 25 s
    assert program.stop() == 0
    assert "Traceback" not in program.output


def test_the_patch_is_made_in_the_worker_before_the_app_is_loaded_and_complains_of_nothing(start: Start) -> None:
    program = start()
    assert fetch(program, "/environ") == "127.0.0.1|http|False|greenserve"
    assert program.stop() == 0
    assert "too late" not in program.output


def test_term_lets_the_request_that_runs_end(start: Start) -> None:
    program = start()
    connection = connect(program)
    connection.request("GET", "/slow")
    response = connection.getresponse()
    assert response.read(6) == b"begun,"
    program.send(signal.SIGTERM)
    assert response.read() == b"ended"
    connection.close()
    assert program.wait() == 0


def test_quit_ends_at_once(start: Start) -> None:
    program = start("--graceful-timeout", "40")
    connection = connect(program)
    connection.request("GET", "/slow")
    response = connection.getresponse()
    assert response.read(6) == b"begun,"
    began = monotonic()
    assert program.stop(signal.SIGQUIT) == 0
    assert monotonic() - began < 20.0
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()


def test_hup_serves_the_new_code_and_cuts_nobody_off(start: Start, tmp_path: Path) -> None:
    program = start()
    assert fetch(program, "/") == "one"
    connection = connect(program)
    connection.request("GET", "/slow")
    response = connection.getresponse()
    assert response.read(6) == b"begun,"
    (tmp_path / "guest.py").write_text(APP.replace('"one"', '"two"'))
    program.send(signal.SIGHUP)
    assert response.read() == b"ended"
    connection.close()
    program.wait_for("Worker exiting")
    assert fetch(program, "/") == "two"
    assert program.stop() == 0


def test_workers_are_replaced_after_so_many_requests_and_none_fails(start: Start) -> None:
    program = start("--max-requests", "5", "--max-requests-jitter", "2", "--workers", "2")
    pids = [fetch(program, "/pid") for _ in range(60)]
    assert len(set(pids)) >= 60 // 7 - 2
    assert max(map(pids.count, pids)) <= 60
    program.wait_for("Autorestarting worker after current request", count=3)
    assert program.stop() == 0
    assert "Traceback" not in program.output


def test_tls(start: Start, tmp_path: Path) -> None:
    files = write_files(tmp_path)
    program = start("--certfile", files.certfile, "--keyfile", files.keyfile)
    context: ssl.SSLContext = asking_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection("127.0.0.1", port_of(program), timeout=LIFETIME, context=context)
    connection.request("GET", "/environ")
    assert connection.getresponse().read() == b"127.0.0.1|https|False|greenserve"
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.selected_alpn_protocol() == "http/1.1"
    connection.close()
    assert program.stop() == 0


def test_what_a_trusted_proxy_says_is_believed(start: Start) -> None:
    program = start("--forwarded-allow-ips", "127.0.0.1", "--workers", "2")
    seen = fetch(program, "/environ", X_Forwarded_For="192.0.2.7", X_Forwarded_Proto="https")
    assert seen == "192.0.2.7|https|True|greenserve"


def test_an_app_that_holds_the_worker_up_is_named_in_the_log_and_the_worker_replaced(start: Start) -> None:
    program = start("--timeout", "2")
    first = fetch(program, "/pid")
    connection = connect(program)
    with closing(connection):
        connection.request("GET", "/block")
        program.wait_for("the worker was held up for more than 2 s, here:")
        program.wait_for(r'guest\.py", line \d+, in app')
        program.wait_for("Booting worker", count=2)
    assert fetch(program, "/pid") != first


def test_the_access_log_is_gunicorns_and_usr1_opens_it_anew(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "access"
    program = start("--access-logfile", str(path), "--access-logformat", '%(m)s %(U)s %(s)s %(B)s "%({x-mine}i)s"')
    assert fetch(program, "/a?b", X_Mine="1") == "one"
    fetch(program, "/b")  # the line of the first request was written before this one's answer
    assert path.read_text().splitlines()[0] == 'GET /a 200 3 "1"'
    path.rename(tmp_path / "access.1")
    program.send(signal.SIGUSR1)
    while not path.exists():
        fetch(program, "/again")
    fetch(program, "/last")
    fetch(program, "/behind")
    assert "GET /last 200 3" in path.read_text()


def test_unix_sockets_and_several_addresses(start: Start, tmp_path: Path) -> None:
    folder = Path(os.path.relpath(tmp_path))  # a socket's path has room for 107 bytes
    program = start("--bind", f"unix:{tmp_path / 's'}" if len(str(tmp_path)) < 90 else f"unix:{folder / 's'}")
    assert fetch(program, "/") == "one"
    program.wait_for("unix:")


def test_gunicorns_control_socket_answers(start: Start, tmp_path: Path) -> None:
    control = shutil.which("gunicornc", path=str(Path(sys.executable).parent))
    if control is None:
        pytest.skip("this gunicorn has no control socket")
    socket = tmp_path / "c"
    program = start("--control-socket", str(socket), control=True)
    fetch(program, "/")
    program.wait_for("[Cc]ontrol socket")
    with Program(control, "-s", str(socket), "-c", "show workers", cwd=tmp_path) as asked:
        assert asked.wait() == 0, asked.output
    pid = fetch(program, "/pid")
    assert pid in asked.output
    assert program.stop() == 0
