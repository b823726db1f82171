from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from socket import AF_UNIX
from typing import Any

import pytest

from greenserve import spawn
from greenserve.errors import ClosedWhileWaiting
from greenserve.net import GreenSocket, StopServe, connect, connections_of, listen, serve
from greenserve.settings import SETTINGS
from tests.net.worlds import outcome
from tests.sync.threads import let_run, run_in_new_process, until

# Listening -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("addr", "family", "name"),
    [
        (("127.0.0.1", 0), socket.AF_INET, "127.0.0.1"),
        (("localhost", 0), socket.AF_INET, "127.0.0.1"),
        (("", 0), socket.AF_INET, "0.0.0.0"),
        (("::1", 0), socket.AF_INET6, "::1"),
        (("::", 0), socket.AF_INET6, "::"),
    ],
)
def test_the_family_is_that_of_the_host(addr: tuple[str, int], family: int, name: str) -> None:
    with listen(addr) as listener:
        assert (listener.family, listener.getsockname()[0]) == (family, name)
        assert listener.type == socket.SOCK_STREAM
        assert listener.gettimeout() is None
        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_path_is_a_unix_socket(kind: Callable[[Any], Any], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen(kind(path)) as listener:
        assert listener.family == socket.AF_UNIX
        assert stat.S_ISSOCK(path.stat().st_mode)
        with connect(kind(path)) as client, listener.accept()[0] as accepted:
            client.send(b"hello")
            assert accepted.recv(9) == b"hello"


@pytest.mark.parametrize("addr", [8000, None, ["127.0.0.1", 8000]])
@pytest.mark.parametrize("use", [listen, connect])
def test_what_is_no_address_is_told_with_one(use: Callable[[Any], Any], addr: Any) -> None:
    with pytest.raises(TypeError) as caught:
        use(addr)
    name = use.__name__
    assert str(caught.value) == (
        f"{name}({addr!r}): give host and port as a pair, such as {name}(('127.0.0.1', 8000)), "
        "or the path of a Unix socket"
    )


@pytest.mark.parametrize(
    ("addr", "example"),
    [
        (("127.0.0.1", "8000"), "('127.0.0.1', 8000)"),
        (("::1", "8001"), "('::1', 8001)"),
        (("localhost", None), "('127.0.0.1', 8000)"),
        ((8000, "127.0.0.1"), "('127.0.0.1', 8000)"),
        (("127.0.0.1",), "('127.0.0.1', 8000)"),
        ((), "('127.0.0.1', 8000)"),
    ],
)
def test_a_pair_with_a_port_that_is_no_number_is_told_with_the_right_one(addr: Any, example: str) -> None:
    with pytest.raises(TypeError) as caught:
        listen(addr)
    assert str(caught.value) == (
        f"listen({addr!r}): give the host as text and the port as a number, such as listen({example})"
    )


def test_a_handler_that_cannot_be_called_is_refused_before_anybody_connects() -> None:
    with listen(("127.0.0.1", 0)) as listener, pytest.raises(TypeError, match=r"serve\(..., 3\): give a function"):
        serve(listener, 3)  # type: ignore[arg-type]  # that is the question


@pytest.mark.parametrize("addr", ["127.0.0.1:8000", ":8000", "localhost:0", "[::1]:8000", "books:1"])
@pytest.mark.parametrize("use", [listen, connect])
def test_a_host_and_a_port_in_one_text_are_not_taken_for_a_path(
    use: Callable[[Any], Any], addr: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"{use.__name__}({addr!r}): give host and port as a pair, ")):
        use(addr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("addr", ["./books:1", "books", "books:a", "1", Path("books:1"), b"books:1"])
def test_a_path_may_look_like_many_things(addr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with listen(addr), connect(addr) as client:
        assert client.family == AF_UNIX
    with listen("books:1", AF_UNIX):
        assert Path("books:1").is_socket()


def test_an_abstract_name_is_a_unix_socket_without_a_file() -> None:
    name = f"\0greenserve-test-{os.getpid()}"
    with listen(name) as listener, connect(name) as client, listener.accept()[0] as accepted:
        client.send(b"hello")
        assert accepted.recv(9) == b"hello"


def test_all_of_ipv6_is_all_of_ipv4_too() -> None:
    with listen(("::", 0)) as listener:
        port = listener.getsockname()[1]
        with connect(("127.0.0.1", port)) as client, listener.accept()[0] as accepted:
            assert accepted.getpeername()[:2] == ("::ffff:127.0.0.1", client.getsockname()[1])


def test_a_family_can_be_asked_for() -> None:
    with listen(("", 0), family=socket.AF_INET6) as listener:
        assert listener.getsockname()[0] == "::"
    with pytest.raises(socket.gaierror):
        listen(("127.0.0.1", 0), family=socket.AF_INET6)


def test_the_default_backlog_is_that_of_the_settings() -> None:
    assert inspect.signature(listen).parameters["backlog"].default == SETTINGS["backlog"].default


def test_a_port_is_shared_only_by_those_who_ask_for_it() -> None:
    with listen(("127.0.0.1", 0), reuse_port=True) as first:
        address = first.getsockname()
        with listen(address, reuse_port=True) as second:
            assert second.getsockname() == address
        with pytest.raises(OSError, match="in use"):
            listen(address)


def test_a_port_is_taken_over_while_its_last_connections_fade_away() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with connect(address) as client:
            listener.accept()[0].close()  # who closes first stays in TIME_WAIT
            assert client.recv(1) == b""
    with pytest.raises(OSError, match="in use"):
        listen(address, reuse_addr=False)
    with listen(address) as again:
        assert again.getsockname() == address


def test_what_can_not_be_listened_on_is_named() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with pytest.raises(OSError, match="in use") as caught:
            listen(address)
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, f"127.0.0.1:{address[1]}")
        assert f"127.0.0.1:{address[1]}" in str(caught.value)
    with pytest.raises(socket.gaierror) as unknown:
        listen(("no such name.invalid", 80))
    assert unknown.value.filename == "no such name.invalid:80"
    with pytest.raises(OSError, match="2001:db8::1") as not_here:
        listen(("2001:db8::1", 80))
    assert (not_here.value.errno, not_here.value.filename) == (errno.EADDRNOTAVAIL, "[2001:db8::1]:80")
    with pytest.raises(FileNotFoundError) as nowhere:
        listen("/nowhere/socket")
    assert nowhere.value.filename == "/nowhere/socket"


def test_the_file_of_a_unix_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listen(path).close()
    with listen(path) as listener, connect(path), listener.accept()[0]:
        with pytest.raises(OSError, match="in use") as caught:
            listen(path)
        assert caught.value.filename == path
        listener.accept()[0].close()  # the attempt found somebody there


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_what_is_no_socket_is_never_replaced(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    make(path)
    with pytest.raises(OSError, match="in use"):
        listen(str(path))
    assert path.exists()


def test_a_unix_socket_of_another_type_is_not_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with GreenSocket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.bind(path)
        with pytest.raises(OSError, match="in use"):
            listen(path)


# Connecting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connect_takes_addresses_of_both_families(host: str) -> None:
    with listen((host, 0)) as listener:
        address = listener.getsockname()
        for addr in (address, address[:2]):
            with connect(addr) as client:
                assert (client.getpeername(), client.family) == (address, listener.family)
        with pytest.raises(socket.gaierror):
            connect(address, family=socket.AF_INET if host == "::1" else socket.AF_INET6)


def test_connect_takes_a_name_and_tries_each_of_its_addresses() -> None:
    with listen(("127.0.0.1", 0)) as listener, connect(("localhost", listener.getsockname()[1])) as client:
        assert client.getpeername() == listener.getsockname()


def test_connect_binds_first_if_told_to(tmp_path: Path) -> None:
    with listen(("127.0.0.1", 0)) as listener, connect(listener.getsockname(), bind=("127.0.0.2", 0)) as client:
        assert client.getsockname()[0] == "127.0.0.2"
    path, own = str(tmp_path / "socket"), tmp_path / "own"
    with listen(path) as unix_listener, connect(path, bind=own) as client:
        assert client.getsockname() == str(own)
        accepted, peer = unix_listener.accept()
        accepted.close()
        assert peer == str(own)


def test_what_can_not_be_connected_to_is_named() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError) as caught:
        connect(("127.0.0.1", port))
    assert caught.value.filename == f"127.0.0.1:{port}"
    with pytest.raises(FileNotFoundError) as nowhere:
        connect("/nowhere/socket")
    assert nowhere.value.filename == "/nowhere/socket"


# Accepting -----------------------------------------------------------------------------------------------------------


class Listener(GreenSocket):
    """Fails as told before it accepts."""

    __slots__ = ("failures",)

    failures: list[int]

    def accept(self) -> tuple[GreenSocket, Any]:
        if self.failures:
            number = self.failures.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


def failing_listener(*failures: int) -> Listener:
    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.failures = list(failures)
    return listener


def test_connections_come_with_their_peers_until_the_listener_is_closed() -> None:
    seen: list[Any] = []

    def accept() -> None:
        for conn, address in connections_of(listener):
            with conn:
                seen.append((conn.getpeername() == address, conn.recv(1)))

    with listen(("127.0.0.1", 0)) as listener:
        acceptor = spawn(accept)
        for data in (b"a", b"b"):
            with connect(listener.getsockname()) as client:
                client.send(data)
                assert client.recv(1) == b""
        assert not acceptor.ended
        listener.close()
        assert acceptor.wait() is None
    assert seen == [(True, b"a"), (True, b"b")]
    assert list(connections_of(listener)) == []


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EPERM])
def test_a_connection_that_was_lost_is_passed_over(number: int) -> None:
    with failing_listener(number, number) as listener, connect(listener.getsockname()):
        conn, _ = next(connections_of(listener))
        conn.close()
        assert listener.failures == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_accepting_goes_on_when_the_system_has_room_again(number: int, caplog: pytest.LogCaptureFixture) -> None:
    with failing_listener(number, number) as listener, connect(listener.getsockname()):
        conn, _ = next(connections_of(listener))
        conn.close()
        assert listener.failures == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert os.strerror(number) in caplog.text


def test_a_server_at_its_limit_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with failing_listener(errno.EMFILE) as listener, connect(listener.getsockname()), connect(listener.getsockname()):
        connections = connections_of(listener)
        next(connections)[0].close()
        listener.failures = [errno.EMFILE]
        next(connections)[0].close()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSOCK, errno.EFAULT])
def test_what_is_wrong_with_the_listener_is_raised(number: int) -> None:
    with failing_listener(number) as listener, pytest.raises(OSError, match=os.strerror(number)):
        next(connections_of(listener))


def test_a_pause_ends_when_the_listener_is_closed_or_interrupted() -> None:
    for end, expected in (
        (lambda sock: sock.close(), None),
        (lambda sock: sock.interrupt(KeyError("stop")), ("KeyError", None)),
    ):
        with failing_listener(*[errno.EMFILE] * 1000) as listener:
            acceptor = spawn(outcome, lambda listener=listener: next(connections_of(listener), None))
            until(lambda listener=listener: listener._source is not None and listener._source.writers)
            end(listener)
            assert acceptor.wait() == expected


def test_a_non_blocking_listener_gives_what_waits_and_raises() -> None:
    with listen(("127.0.0.1", 0)) as listener, connect(listener.getsockname()):
        listener.setblocking(False)
        connections = connections_of(listener)
        next(connections)[0].close()
        with pytest.raises(BlockingIOError):
            next(connections)
    with failing_listener(errno.EMFILE) as full:
        full.setblocking(False)
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            next(connections_of(full))


def test_without_free_files_accepting_pauses_and_neither_spins_nor_dies() -> None:
    script = """
import logging, os, resource, socket, time
from greenserve import Timeout, spawn, sleep
from greenserve.net import connections_of, listen

records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger("greenserve.net").addHandler(Keep())

listener = listen(("127.0.0.1", 0))
clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
sleep(0)
spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
limit = os.open("/dev/null", os.O_RDONLY)  # the lowest number that is free
os.close(limit)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

accepted = []
def accept():
    for conn, _ in connections_of(listener):
        accepted.append(conn)
acceptor = spawn(accept)
began = time.process_time()
sleep(0.4)  # the span that is looked at: several pauses
assert not accepted and not acceptor.ended
print("cpu", time.process_time() - began < 0.2, "logged", len(records))
for fd in spare:
    os.close(fd)
with Timeout(10):
    while len(accepted) < 2:
        sleep(0.01)
    accepted.pop().close()
    while len(accepted) < 2:
        sleep(0.01)
print("accepted", len(accepted), "logged", len(records))
"""
    assert run_in_new_process(script) == "cpu True logged 1\naccepted 2 logged 1\n"


# Serving -------------------------------------------------------------------------------------------------------------


def echo(conn: GreenSocket, address: Any) -> None:
    while data := conn.recv(100):
        conn.sendall(data)


def test_serve_calls_the_handler_for_each_connection_and_closes_it() -> None:
    handled: list[GreenSocket] = []

    def handle(conn: GreenSocket, address: Any) -> None:
        assert conn.getpeername() == address
        handled.append(conn)
        echo(conn, address)

    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, handle)
        with connect(listener.getsockname()) as first, connect(listener.getsockname()) as second:
            for client in (second, first):
                client.send(b"hello")
                assert client.recv(9) == b"hello"
        until(lambda: [conn.fileno() for conn in handled] == [-1, -1])
        listener.close()
        assert server.wait() is None


def test_a_handler_that_fails_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def handle(conn: GreenSocket, address: Any) -> None:
        if conn.recv(1) == b"x":
            raise LookupError("as asked")
        conn.send(b"fine")

    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, handle)
        with connect(listener.getsockname()) as bad, connect(listener.getsockname()) as good:
            bad.send(b"x")
            assert bad.recv(9) == b""
            good.send(b"y")
            assert good.recv(9) == b"fine"
        server.kill()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["as asked"]


def test_stop_serve_ends_serving_and_other_handlers_go_on() -> None:
    def handle(conn: GreenSocket, address: Any) -> None:
        for data in iter(lambda: conn.recv(4), b""):
            if data == b"stop":
                raise StopServe
            conn.send(data)

    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, handle)
        with connect(listener.getsockname()) as first, connect(listener.getsockname()) as second:
            for client in (first, second):
                client.send(b"ping")
                assert client.recv(4) == b"ping"
            first.send(b"stop")
            assert server.wait() is None
            assert first.recv(1) == b""
            second.send(b"pong")
            assert second.recv(4) == b"pong"
            second.send(b"stop")  # nobody serves any more
            assert second.recv(1) == b""
        assert listener.fileno() >= 0


def test_stop_serve_ends_serving_that_waits_for_room() -> None:
    def handle(conn: GreenSocket, address: Any) -> None:
        conn.recv(1)
        raise StopServe

    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, handle, concurrency=1)
        with connect(listener.getsockname()) as client:
            let_run()
            client.send(b"x")
            assert server.wait() is None


def test_no_more_handlers_run_at_once_than_allowed() -> None:
    running: list[int] = []

    def handle(conn: GreenSocket, address: Any) -> None:
        running.append(conn.fileno())
        conn.send(b"here")
        conn.recv(1)
        running.pop()

    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, handle, concurrency=2)
        clients = [connect(listener.getsockname()) for _ in range(5)]
        for client in clients:
            assert client.recv(4) == b"here"
            let_run()
            assert 0 < len(running) <= 2
            client.close()
        until(lambda: not running)
        listener.close()
        server.wait()


def test_a_concurrency_that_lets_nobody_run_is_refused() -> None:
    with listen(("127.0.0.1", 0)) as listener, pytest.raises(ValueError, match="concurrency=0"):
        serve(listener, echo, concurrency=0)


def test_who_kills_the_server_gets_it_killed() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        server = spawn(serve, listener, echo)
        let_run()
        server.kill(ClosedWhileWaiting(errno.EBADF, "by hand"))
        with pytest.raises(ClosedWhileWaiting, match="by hand"):
            server.wait()
