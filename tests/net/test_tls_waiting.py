"""Green TLS sockets: how they wait, are shared, and end."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from greenserve import connect, listen, spawn
from greenserve.errors import ClosedWhileWaiting
from greenserve.net import GreenSocket, socketpair
from greenserve.net.tls import GreenSSLSocket, wrap_ssl
from tests.certificates import VERSIONS, asking_context, serving_context
from tests.net.secured import wrap_pair
from tests.net.test_parking import count_waiters
from tests.net.worlds import BIG, read_all, read_exactly
from tests.sync.threads import (
    DEADLINE,
    HubThread,
    OSThread,
    frequent_thread_switches,
    let_run,
    run_in_new_process,
    until,
)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param


@pytest.fixture
def pair(version: ssl.TLSVersion) -> Iterator[tuple[GreenSSLSocket, GreenSSLSocket]]:
    """A client and its server. Each raises where the other's stream ends without a goodbye."""
    client, server = wrap_pair(*socketpair(), version, suppress_ragged_eofs=False)
    client.settimeout(DEADLINE)
    server.settimeout(DEADLINE)
    with client, server:
        yield client, server


def connected(version: ssl.TLSVersion) -> tuple[GreenSSLSocket, GreenSSLSocket]:
    """As ``pair``, over TCP."""
    with listen(("127.0.0.1", 0)) as listener:
        a = connect(listener.getsockname())
        client, server = wrap_pair(a, listener.accept()[0], version, suppress_ragged_eofs=False)
    client.settimeout(DEADLINE)
    server.settimeout(DEADLINE)
    return client, server


# Waiting --------------------------------------------------------------------------------------------------------------


def test_others_run_while_one_waits_for_the_peer(pair):
    client, server = pair
    receivers = [spawn(client.recv, 10), spawn(server.recv, 10)]
    let_run()
    assert not any(receiver.ended for receiver in receivers)
    client.sendall(b"to server")
    server.sendall(b"to client")
    assert [receiver.wait() for receiver in receivers] == [b"to client", b"to server"]


def test_what_openssl_has_decrypted_already_counts_as_readable(pair):
    client, server = pair
    client.sendall(b"0123456789")
    assert server.recv(1) == b"0"
    assert not GreenSocket.wait_readable(server, 0), "the system has nothing more"
    assert server.pending() == 9
    assert server.wait_readable(0)
    assert server.wait_readable()
    assert server.recv(100) == b"123456789"
    assert not server.wait_readable(0)
    assert not server.wait_readable(0.01)


def test_full_records_are_read_together_as_far_as_they_are_there(pair):
    client, server = pair
    client.sendall(BIG[:40_000])
    buffer = bytearray(65536)
    assert server.recv_into(buffer) == 40_000
    assert buffer[:40_000] == BIG[:40_000]
    client.sendall(BIG[:40_000])
    assert [server.recv_into(buffer, 20_000), server.recv_into(buffer, 40_000)] == [16384, 40_000 - 16384]


def test_what_came_before_a_failure_is_returned_first(version):
    client, server = connected(version)
    with client, server:
        client.sendall(BIG[:16384])
        assert server.wait_readable(DEADLINE)
        client.abort()
        buffer = bytearray(65536)
        assert server.recv_into(buffer) == 16384
        # ssl of Python 3.12 and before takes a reset for an end without a goodbye.
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            server.recv_into(buffer)


def test_waiting_to_be_readable_ends_when_bytes_come(pair):
    client, server = pair
    waiter = spawn(server.wait_readable)
    let_run()
    assert not waiter.ended
    client.sendall(b"x")
    assert waiter.wait() is True


def test_closing_wakes_who_reads_and_who_writes(pair):
    _, server = pair
    waiting = [spawn(server.recv, 1), spawn(server.sendall, BIG), spawn(server.wait_readable)]
    let_run()
    server.close()
    for thread in waiting:
        with pytest.raises(ClosedWhileWaiting):
            thread.wait()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        server.recv(1)
    assert caught.value.errno == errno.EBADF


def test_an_interrupt_is_raised_where_it_waits_and_reading_can_go_on(pair):
    client, server = pair

    class Stop(Exception):
        pass

    reader = spawn(server.recv, 10)
    let_run()
    server.interrupt(Stop())
    with pytest.raises(Stop):
        reader.wait()
    client.sendall(b"later")
    assert server.recv(10) == b"later"


def test_several_may_write_at_once_and_no_message_is_torn(pair):
    client, server = pair
    blocks = [bytes([65 + number]) * 300_000 for number in range(8)]
    writers = [spawn(client.sendall, block) for block in blocks]
    received = read_exactly(server, sum(map(len, blocks)))
    for writer in writers:
        writer.wait()
    assert sorted(received[start : start + 300_000] for start in range(0, len(received), 300_000)) == blocks


def test_one_reads_while_others_write(pair):
    client, server = pair
    tasks = [spawn(client.sendall, BIG), spawn(server.sendall, BIG), spawn(read_exactly, server, len(BIG))]
    assert read_exactly(client, len(BIG)) == BIG
    assert tasks[2].wait() == BIG


def work_for(seconds: float) -> None:
    """Use the CPU, as an app would between two calls."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_reads_that_never_wait_let_others_run_all_the_same(pair):
    client, server = pair
    for _ in range(100):
        client.sendall(b"x")
    other = spawn(bytes)
    for _ in range(100):
        work_for(0.0003)
        assert server.recv(10) == b"x"
    assert other.ended


def test_writes_that_never_wait_let_others_run_all_the_same(pair):
    client, server = pair
    other = spawn(bytes)
    for _ in range(100):
        work_for(0.0003)
        client.sendall(b"x")
    assert other.ended
    assert read_exactly(server, 100) == b"x" * 100


def test_a_close_between_the_parts_of_a_message_does_not_look_like_its_end(pair):
    client, server = pair

    def send_parts() -> None:
        for _ in range(100):
            work_for(0.0003)
            server.sendall(b"x")

    sender = spawn(send_parts)  # it gives way before a part, and the socket is closed then
    closer = spawn(server.close)
    with pytest.raises(ssl.SSLEOFError):
        read_all(client)
    closer.wait()
    with pytest.raises(ClosedWhileWaiting):
        sender.wait()


def test_a_write_that_was_broken_off_is_the_last_one(pair):
    client, server = pair
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.sendall(BIG * 2)
    with pytest.raises(ssl.SSLError, match="broken off"):
        server.sendall(b"x" * len(BIG) * 2)
    server.close()
    with pytest.raises(ssl.SSLEOFError):  # not the end of the stream as if this had been all
        read_all(client)
    assert client.truncated


def test_who_waits_for_the_turn_to_write_has_a_timeout_too(pair):
    client, server = pair
    first = spawn(server.sendall, BIG * 2)
    let_run()
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.sendall(b"second")
    server.settimeout(0.0)
    with pytest.raises(ssl.SSLWantWriteError):
        server.sendall(b"third")
    server.settimeout(DEADLINE)
    assert read_exactly(client, len(BIG) * 2) == BIG * 2
    first.wait()


@pytest.mark.parametrize("count", [1, 65536, 65537, 200_000])
def test_sendfile_some_sends_a_part_of_a_file(pair, tmp_path: Path, count: int):
    client, server = pair
    path = tmp_path / "file"
    path.write_bytes(BIG)
    with path.open("rb") as file:
        sent = server.sendfile_some(file.fileno(), 1000, count)
        assert sent == min(count, 65536)
        assert read_exactly(client, sent) == BIG[1000 : 1000 + sent]
        assert server.sendfile_some(file.fileno(), len(BIG), count) == 0
        sender = spawn(server.sendfile, file, 5)
        assert read_exactly(client, len(BIG) - 5) == BIG[5:]
        assert sender.wait() == len(BIG) - 5


# OS threads and processes ---------------------------------------------------------------------------------------------


def test_one_os_thread_may_read_while_another_writes(pair):
    """Without a guard around OpenSSL this breaks within milliseconds."""
    count, size = 600, 65_536

    def write_all(sock: GreenSSLSocket) -> None:
        for _ in range(count):
            sock.sendall(bytes(size))

    with frequent_thread_switches():
        readers = [OSThread(partial(read_all_of, count * size, sock)) for sock in pair]
        writers = [OSThread(partial(write_all, sock)) for sock in pair]
        assert [task.wait() for task in writers + readers] == [None, None, count * size, count * size]


def read_all_of(size: int, sock: GreenSSLSocket) -> int:
    received = 0
    buffer = bytearray(65536)
    while received < size:
        received += sock.recv_into(buffer)
    return received


def test_closing_wakes_readers_in_other_os_threads(pair):
    _, server = pair
    readers = [OSThread(partial(server.recv, 1)), HubThread(partial(server.recv, 1)), spawn(server.recv, 1)]
    until(lambda: count_waiters(server) == 3)
    server.close()
    for reader in readers:
        with pytest.raises(ClosedWhileWaiting):
            reader.wait()


def test_a_forked_child_that_closes_its_copy_says_nothing_to_the_peer() -> None:
    output = run_in_new_process(
        """
import os
from greenserve.net import socketpair
from tests.net.secured import wrap_pair

client, server = wrap_pair(*socketpair(), suppress_ragged_eofs=False)
child = os.fork()
if not child:
    server.close()
    os._exit(0)
os.waitpid(child, 0)
server.sendall(b"still here")
print(client.recv(100).decode())
server.close()
print(client.recv(100))
"""
    )
    assert output == "still here\nb''\n"


# Ending ---------------------------------------------------------------------------------------------------------------


def test_closing_says_goodbye_and_does_not_wait_for_an_answer(pair):
    client, server = pair
    server.sendall(b"all")
    server.close()
    assert (client.recv(10), client.recv(10), client.truncated) == (b"all", b"", False)


def test_closing_does_not_wait_for_room_either(pair):
    client, server = pair
    server.setblocking(False)
    with pytest.raises(ssl.SSLWantWriteError):
        while True:
            server.send(bytes(65536))
    server.close()
    with pytest.raises(ssl.SSLEOFError):
        read_all(client)


def test_aborting_says_nothing(version):
    client, server = connected(version)
    with client:
        server.sendall(b"some")
        assert client.recv(10) == b"some"
        server.abort()
        with pytest.raises((ConnectionResetError, ssl.SSLEOFError)):
            client.recv(10)


def test_the_end_of_writing_is_told_and_what_comes_then_is_only_to_be_thrown_away(version):
    client, server = connected(version)
    with client, server:
        server.sendall(b"go away")
        server.shutdown_write()
        client.sendall(b"secret")
        assert (client.recv(10), client.recv(10), client.truncated) == (b"go away", b"", False)
        client.close()
        assert b"secret" not in read_all(server)
        with pytest.raises(BrokenPipeError):
            server.sendall(b"plain")
        server.shutdown_write()


def test_who_has_said_goodbye_can_be_answered_still(pair):
    client, server = pair
    server.shutdown(socket.SHUT_RD)
    server.sendall(b"answer")
    assert client.recv(10) == b"answer"


def test_a_socket_that_was_given_away_is_closed_to_its_users(pair):
    _, server = pair
    reader = spawn(server.recv, 1)
    let_run()
    os.close(server.detach())
    with pytest.raises(ClosedWhileWaiting):
        reader.wait()
    with pytest.raises(OSError, match="Bad file descriptor"):
        server.recv(1)
    with pytest.raises(ValueError, match="closed or unwrapped"):
        server.write(b"x")


# Beside other code ----------------------------------------------------------------------------------------------------


def test_others_may_wrap_a_green_socket_with_a_context_that_is_told_the_class():
    context = asking_context()
    context.sslsocket_class = GreenSSLSocket
    a, b = socketpair()
    server = spawn(wrap_ssl, b, serving_context(), server_side=True)
    with context.wrap_socket(a, server_hostname="localhost") as client, server.wait() as peer:
        assert type(client) is GreenSSLSocket
        assert a.fileno() == -1
        peer.sendall(b"x")
        assert client.recv(1) == b"x"


def test_others_may_wrap_a_green_socket_with_any_context():
    """What they get waits in the system, as they expect where nothing is patched."""
    a, b = socketpair()
    asking = OSThread(lambda: asking_context().wrap_socket(a, server_hostname="localhost"))
    with wrap_ssl(b, serving_context(), server_side=True) as server, asking.wait() as client:
        assert type(client) is ssl.SSLSocket
        echo = OSThread(lambda: client.sendall(client.recv(5)))
        server.sendall(b"hello")
        assert server.recv(5) == b"hello"
        echo.wait()


@pytest.mark.parametrize("first", ["import ssl", "", "import greenserve.net.tls"])
def test_it_works_whatever_was_imported_first(first: str):
    """Where ``ssl`` comes after the patch of ``socket``, its class of sockets is itself a green one."""
    output = run_in_new_process(
        f"""
{first}
import socket
from greenserve.net import GreenSocket
socket.socket = socket.SocketType = GreenSocket
import ssl
from greenserve import spawn
from greenserve.net import socketpair
from greenserve.net.tls import GreenSSLSocket
ssl.SSLContext.sslsocket_class = GreenSSLSocket
from tests.certificates import asking_context, serving_context

a, b = socketpair()
server = spawn(serving_context().wrap_socket, b, server_side=True)
client = asking_context().wrap_socket(a, server_hostname="localhost")
server = server.wait()
echo = spawn(lambda: server.sendall(server.recv(10)))
client.sendall(b"hello")
print(client.recv(10).decode(), isinstance(client, (ssl.SSLSocket)), isinstance(client, socket.socket))
client.close()
print(server.recv(1), server.truncated)
"""
    )
    assert output == "hello True True\nb'' False\n"


def test_greenserve_has_wrap_ssl_without_loading_openssl_for_it():
    output = run_in_new_process(
        "import sys, greenserve, greenserve.wsgi\n"
        "print('ssl' in sys.modules, greenserve.wrap_ssl.__module__, 'ssl' in sys.modules)"
    )
    assert output == "False greenserve.net.tls True\n"
