"""The guide for HAProxy: a real one with each of its configurations, in front of what the guide's commands start."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import socketio

from greenserve.websocket import connect
from tests.servers import require, temporary_place
from tests.supervisor.guides import Ports, blocks, commands, saved
from tests.supervisor.running import DEADLINE, READING, Clients, Master, begin

pytestmark = pytest.mark.system

PAGE = "run-behind-haproxy.md"
HTTP, PROXY_PROTOCOL, STICKY = range(3)


@contextmanager
def haproxy(number: int, ports: Ports, answers: int = 200) -> Iterator[None]:
    """Run HAProxy with one of the guide's configurations, until its checks have found the servers."""
    program = require("haproxy", "haproxy")

    def is_ready() -> bool:
        connection = HTTPConnection("127.0.0.1", ports.public, timeout=DEADLINE)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == answers
        except OSError:
            return False
        finally:
            connection.close()

    with temporary_place() as place:
        conf = Path(place.directory, "haproxy.cfg")
        conf.write_text(ports.replace(blocks(PAGE, "haproxy")[number].text))
        place.run(program, "-c", "-f", str(conf))
        with place.serve(program, "-db", "-f", str(conf), is_ready=is_ready, stop=signal.SIGUSR1):
            yield


@contextmanager
def master(folder: Path, number: int, ports: Ports) -> Iterator[Master]:
    """Run one of the guide's commands."""
    args = [ports.replace(arg) for arg in commands(PAGE)[number]]
    running = Master(folder, *args)
    try:
        yield running
    finally:
        running.close()


def ask(port: int, path: str = "/", **headers: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"Host": "shop.example", **fields})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("who.py", "chat.py"):
        (tmp_path / name).write_text(saved(PAGE, name))
    return tmp_path


def test_the_client_is_known_and_what_it_says_of_itself_is_dropped(folder: Path) -> None:
    ports = Ports()
    with master(folder, HTTP, ports), haproxy(HTTP, ports):
        assert ask(ports.public, "/cart") == "127.0.0.1 asks for http://shop.example/cart\n"
        forged = {"X_Forwarded_For": "203.0.113.9", "X_Forwarded_Proto": "https", "Forwarded": "for=203.0.113.9"}
        assert ask(ports.public, "/cart", **forged) == "127.0.0.1 asks for http://shop.example/cart\n"


def test_websockets_pass_through(folder: Path) -> None:
    ports = Ports()
    with master(folder, HTTP, ports), haproxy(HTTP, ports), connect(f"ws://127.0.0.1:{ports.public}/echo") as client:
        client.send("hello")
        assert client.receive(timeout=DEADLINE) == "hello"


def test_reloads_cost_no_request(folder: Path) -> None:
    echo = "f\"{os.getpid()} {environ['PATH_INFO']}\".encode()"
    with (folder / "who.py").open("a") as file:
        file.write(
            f"import os\ndef app(environ, start_response):\n    body = {echo}\n"
            '    start_response("200 OK", [("Content-Length", str(len(body)))])\n    return [body]\n'
        )
    ports = Ports()
    with master(folder, HTTP, ports) as server, haproxy(HTTP, ports), Clients(ports.public) as clients:
        for _ in range(5):
            clients.wait_for_answers(50)
            before = server.send(signal.SIGHUP)
            server.err.wait_for("the reload is done", after=before)
        clients.wait_for_answers(50)
        assert clients.failures == []
        assert len(clients.pids) > 5


def test_a_server_that_stops_is_not_ready_any_more_and_still_answers_what_runs(folder: Path) -> None:
    (folder / "who.py").write_text(READING)
    ports = Ports()

    def readiness() -> int:
        connection = HTTPConnection("127.0.0.1", ports.of("8080"), timeout=DEADLINE)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        finally:
            connection.close()

    with master(folder, HTTP, ports) as server, haproxy(HTTP, ports):
        while readiness() != 200:  # workers tell how they are once a second
            pass
        with begin(ports.public) as client:
            server.send(signal.SIGTERM)
            while readiness() != 503:
                pass
            client.sendall(b"ab")
            assert client.recv(1000).endswith(b" /x")
        assert server.wait() == 0


def test_the_proxy_protocol_tells_the_client(folder: Path) -> None:
    ports = Ports()
    with master(folder, PROXY_PROTOCOL, ports) as server, haproxy(PROXY_PROTOCOL, ports):
        assert ask(ports.public, "/cart") == "127.0.0.1 asks for http://shop.example/cart\n"
        assert server.stop() == 0
    assert "PROXY" not in server.err.text


def test_a_socket_io_client_stays_with_its_server_and_its_worker(folder: Path) -> None:
    ports = Ports()
    with ExitStack() as stack:
        servers = [stack.enter_context(master(folder, number, ports)) for number in (STICKY, STICKY + 1)]
        stack.enter_context(haproxy(STICKY, ports, answers=404))
        workers = {pid for server in servers for pid in server.workers(count=2)}
        seen = set()
        for transport in ["polling"] * 6 + ["websocket"] * 2:
            client = stack.enter_context(socketio.SimpleClient())
            client.connect(f"http://127.0.0.1:{ports.public}", transports=[transport])
            answers = {client.call("whoami", timeout=30) for _ in range(4)}
            assert len(answers) == 1
            seen |= answers
    assert seen <= workers
    assert len(seen) > 1, "all clients came to one worker"
