"""Sticky sessions: what a cookie says, what is handed over, and that each client stays where it was."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenserve
from greenserve.config import load
from greenserve.net.listeners import listen
from greenserve.net.sockets import socketpair
from greenserve.supervisor.balance import Shares
from greenserve.supervisor.identity import Owner
from greenserve.supervisor.sticky import Exchange, Handover, StickyProtocol, decode, encode, owner_of, rebuild_head
from greenserve.testing import wait_until_parked
from greenserve.wsgi.server import Server
from tests.supervisor.running import DEADLINE, Master, running

# Counts the visits of each client in its own memory, as a chat keeps its sessions, and answers with what was sent.
SESSIONS = """
import os
VISITS = {}

def app(environ, start_response):
    name = environ["QUERY_STRING"]
    VISITS[name] = VISITS.get(name, 0) + 1
    body = environ["wsgi.input"].read()
    answer = f"{os.getpid()} {VISITS[name]} {environ['REMOTE_ADDR']} ".encode() + body
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""


@pytest.mark.parametrize(
    ("cookie", "owner"),
    [
        ("greenserve_worker=3", 3),
        ("a=b; greenserve_worker=12; c=d", 12),
        ("a=b;greenserve_worker=0", 0),
        ("", None),
        ("greenserve_worker=", None),
        ("greenserve_worker=-1", None),
        ("greenserve_worker=1x", None),
        ("greenserve_worker=12345", None),
        ("x_greenserve_worker=1", None),
        ("greenserve_worker=\u0663", None),
    ],
)
def test_the_cookie_names_a_place_or_nothing(cookie: str, owner: int | None) -> None:
    assert owner_of({"HTTP_COOKIE": cookie}) == owner
    assert owner_of({}) is None


def test_the_session_of_a_request_goes_before_the_cookie_of_its_client() -> None:
    session = "EIO=4&transport=polling&sid=abcdefghij-_ABCD0123"
    cookie = "greenserve_worker=3"
    assert owner_of({"QUERY_STRING": f"{session}.1", "HTTP_COOKIE": cookie}) == 1
    assert owner_of({"QUERY_STRING": f"{session}.0"}) == 0
    assert owner_of({"QUERY_STRING": session, "HTTP_COOKIE": cookie}) == 3
    assert owner_of({"QUERY_STRING": session}) is None


@given(st.text(), st.integers(0, 65535), st.binary(max_size=200))
def test_what_goes_with_a_connection_arrives_as_it_was(host: str, port: int, data: bytes) -> None:
    for address in ((host, port), (host, port, 0, 0), host):
        assert decode(encode(address, None, data)) == (address, None, data)
        assert decode(encode(host, address, data)) == (host, address, data)


@given(st.binary(max_size=60), st.booleans())
def test_what_is_no_such_message_is_refused_with_one_kind_of_error(message: bytes, is_framed: bool) -> None:
    if is_framed:
        message = len(message).to_bytes(4, "big") + message
    try:
        _, _, data = decode(message)
    except ValueError:
        return
    assert message.endswith(data)


@pytest.mark.parametrize("description", [b"1", b"null", b"[1]", b"[1, 2, 3]", b'{"a": 1, "b": 2}', b"\xff", b""])
def test_a_description_that_is_not_a_pair_is_refused(description: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(len(description).to_bytes(4, "big") + description)


@given(st.integers(0, 30))
def test_a_message_that_is_cut_off_is_refused(length: int) -> None:
    message = encode(("127.0.0.1", 80), None, b"")
    if length < len(message):
        with pytest.raises(ValueError, match=r"too short|cut off"):
            decode(message[:length])


def test_a_head_is_rebuilt_with_its_fields_in_their_order() -> None:
    environ = {
        "REQUEST_METHOD": "POST",
        "RAW_URI": "/a%20b?c",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "headers_raw": (("Host", "x"), ("X-A", "1"), ("x-a", "caf\xe9")),
    }
    assert rebuild_head(environ) == b"POST /a%20b?c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: caf\xe9\r\n\r\n"


def test_a_worker_that_takes_nothing_holds_nobody_up_for_longer_than_the_timeout(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("greenserve.supervisor.sticky._TIMEOUT", 0.02)
    exchange = Exchange(Owner(load()))
    exchange.resize(2)
    path = exchange.path(0)
    os.unlink(path)
    ours, theirs = socketpair()
    with listen(path, backlog=0), greenserve.connect(path), ours, theirs:  # no room for another one
        handover = Handover(exchange, 1, Shares(), cast(Server, None))
        with greenserve.Timeout(DEADLINE):
            assert not handover.send(0, ours, b"")
        handover.stop()
    exchange.close()
    assert caplog.messages == ["can't hand a connection to worker 1, and serve it here: timed out"]


def test_a_connection_that_did_not_come_with_its_message_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(Owner(load()))
    exchange.resize(1)
    handover = Handover(exchange, 0, Shares(), Server([], lambda environ, start_response: []))
    handover.start()
    with greenserve.connect(exchange.path(0)) as channel:
        channel.sendall(encode(None, None, b""))
    wait_until_parked()
    handover.stop()
    wait_until_parked()
    exchange.close()
    said = "a connection that another worker handed over did not arrive: there is no file descriptor for it"
    assert caplog.messages == [said]


def test_connections_that_others_hand_over_wait_for_room_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenserve.supervisor.sticky._AT_ONCE", 1)
    monkeypatch.setattr(StickyProtocol, "handover", None, raising=False)
    exchange = Exchange(Owner(load()))
    exchange.resize(1)
    server = Server([], lambda environ, start_response: [], max_size=2)
    handover = Handover(exchange, 0, Shares(), server)
    handover.start()
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, socketpair())) for _ in range(5)]
        for ours, _ in pairs:
            assert handover.send(0, ours, encode(None, None, b""))
            ours.close()
        wait_until_parked()
        assert len(server.connections) == 2
        for _, theirs in pairs:
            theirs.close()
            wait_until_parked()
            assert len(server.connections) <= 2 + 1  # those that are taken at once may exceed it
        assert not server.connections
    handover.stop()
    wait_until_parked()
    exchange.close()


class Client:
    """A client with a name and a cookie."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cookie = ""
        self.visits = 0

    def visit(self, connection: http.client.HTTPConnection, **request: Any) -> int:
        """Ask once, over a connection that others use too, and return the worker that answered."""
        headers = {"Cookie": self.cookie} if self.cookie else {}
        connection.request("POST", f"/?{self.name}", headers=headers, **request)
        response = connection.getresponse()
        field = response.headers.get("Set-Cookie")
        assert (field is None) == bool(self.cookie)
        self.cookie = self.cookie or (field or "").partition(";")[0]
        pid, visits, address, body = response.read().split(b" ", 3)
        self.visits += 1
        assert (int(visits), address) == (self.visits, b"127.0.0.1"), "another worker has answered"
        sent = request.get("body", b"")
        assert body == (sent if isinstance(sent, bytes) else b"".join(sent))
        return int(pid)


def connect(master: Master) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", master.port, timeout=DEADLINE)


@pytest.mark.system
def test_each_client_stays_on_its_worker_whoever_shares_its_connection(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "4", "--sticky", "cookie", app=SESSIONS) as master:
        clients = [Client(f"c{number}") for number in range(24)]
        workers: dict[str, int] = {}
        with ExitStack() as stack:  # each with a connection of its own at first, all at once: so they go to several
            for client in clients:
                workers[client.name] = client.visit(stack.enter_context(closing(connect(master))))
        assert len(set(workers.values())) > 1
        shared = connect(master)  # and then all over one, as a proxy does it
        try:
            for size in (0, 1, 100_000):
                for client in clients:
                    assert client.visit(shared, body=b"x" * size) == workers[client.name]
            for client in clients:
                assert client.visit(shared, body=[b"in ", b"chunks"], encode_chunked=True) == workers[client.name]
        finally:
            shared.close()
        assert master.stop() == 0
        assert "Traceback" not in master.err.text


@pytest.mark.system
def test_clients_that_come_one_by_one_while_nobody_is_busy_are_dealt_evenly(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", "--sticky", "cookie", app=SESSIONS) as master:
        workers = []
        for number in range(60):
            with closing(connect(master)) as connection:
                workers.append(Client(f"c{number}").visit(connection))
        assert 0.4 <= workers.count(workers[0]) / len(workers) <= 0.6


@pytest.mark.system
def test_a_pipeline_of_several_clients_is_answered_in_its_order(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "3", "--sticky", "cookie", app=SESSIONS) as master:
        with socket.create_connection(("127.0.0.1", master.port), timeout=DEADLINE) as sock:
            requests = b"".join(
                b"POST /?p%d HTTP/1.1\r\nHost: x\r\nCookie: greenserve_worker=%d\r\nContent-Length: 2\r\n\r\n%02d"
                % (number, number % 3, number)
                for number in range(30)
            )
            sock.sendall(requests + b"GET /?end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with sock.makefile("rb") as answers:
                text = answers.read()
        bodies = [part.split(b"\r\n\r\n")[1] for part in text.split(b"HTTP/1.1 200 OK")[1:]]
        assert [body[-2:] for body in bodies[:-1]] == [b"%02d" % number for number in range(30)]
        pids = [body.split()[0] for body in bodies[:-1]]
        assert [len(set(pids[place::3])) for place in range(3)] == [1, 1, 1]
        assert len(set(pids)) == 3


@pytest.mark.system
def test_a_cookie_of_a_worker_that_is_not_there_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", "--sticky", "cookie", app=SESSIONS) as master:
        for cookie in ("greenserve_worker=7", "greenserve_worker=9999", "greenserve_worker=x"):
            connection = connect(master)
            connection.request("GET", "/?a", headers={"Cookie": cookie})
            response = connection.getresponse()
            response.read()
            connection.close()
            assert (response.headers["Set-Cookie"] or "").startswith(("greenserve_worker=0;", "greenserve_worker=1;"))


@pytest.mark.system
def test_the_clients_of_a_replaced_worker_are_taken_over_and_the_others_notice_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", "--sticky", "cookie", app=SESSIONS) as master:
        first, second = master.workers(count=2)
        clients: dict[int, list[Client]] = {first: [], second: []}
        while not all(clients.values()):
            client = Client(str(sum(map(len, clients.values()))))
            connection = connect(master)
            clients[client.visit(connection)].append(client)
            connection.close()
        before = len(master.err)
        moved, stays = clients[first][0], clients[second][0]
        os.kill(first, signal.SIGTERM)
        (new,) = master.workers(after=before)
        master.err.wait_for(rf"process {first}\) is gone", after=before)
        moved.visits = 0  # its session was in the old one's memory
        for _ in range(5):
            connection = connect(master)
            assert moved.visit(connection) == new
            assert stays.visit(connection) == second
            connection.close()


@pytest.mark.system
def test_by_address_each_address_has_its_worker_in_the_kernel(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--workers", "2", "--sticky", "address", app=SESSIONS) as master:
        found: dict[str, Counter[int]] = {}
        for address in [f"127.0.0.{last}" for last in range(1, 21)]:
            for _ in range(4):
                with socket.create_connection(("127.0.0.1", master.port), DEADLINE, (address, 0)) as sock:
                    sock.sendall(b"GET /?a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    with sock.makefile("rb") as answer:
                        pid = int(answer.read().partition(b"\r\n\r\n")[2].split()[0])
                    found.setdefault(address, Counter())[pid] += 1
        assert all(len(pids) == 1 for pids in found.values()), found
        shares = Counter(next(iter(pids)) for pids in found.values())
        assert sorted(shares) == sorted(master.workers(count=2))
        assert min(shares.values()) >= 8, shares
        # The same after a reload, at the same places.
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)


@pytest.mark.system
def test_with_tls_a_cookie_can_make_nobody_stick(tmp_path: Path) -> None:
    args = ("shop:app", "--workers", "2", "--sticky", "cookie", "--certfile", "x.pem")
    with running(tmp_path, *args, wait=False) as master:
        assert master.wait() == 1
        master.err.wait_for(r"^greenserve: sticky = 'cookie' \(--sticky on the command line\) beside certfile")
