"""Handshakes of green TLS sockets: when they happen, how long they may take, and whom they hold up."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve import Timeout, connect, listen, spawn
from greenserve.net import GreenSocket, connections_of, socketpair
from greenserve.net.contexts import server_context
from greenserve.net.tls import GreenSSLSocket, wrap_ssl
from tests.certificates import VERSIONS, asking_context, authority, serving_context, write_files
from tests.net.secured import wrap_pair
from tests.net.worlds import read_all, read_exactly
from tests.sync.threads import (
    DEADLINE,
    let_run,
)


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param


@pytest.fixture
def listener() -> Iterator[GreenSSLSocket]:
    with wrap_ssl(listen(("127.0.0.1", 0)), serving_context()) as sock:
        yield sock


def connect_to(listener: GreenSSLSocket) -> GreenSSLSocket:
    client = wrap_ssl(connect(listener.getsockname()), asking_context(), server_hostname="localhost")
    client.settimeout(DEADLINE)
    return client


def test_accept_returns_before_the_handshake_and_the_first_use_does_it(listener):
    silent = connect(listener.getsockname())
    asking = spawn(connect_to, listener)
    first, _ = listener.accept()
    second, address = listener.accept()
    assert (type(second), second.version(), second.server_side) == (GreenSSLSocket, None, True)
    with silent, first, second:
        reader = spawn(second.recv, 10)
        with asking.wait() as client:
            assert client.getsockname() == address
            client.sendall(b"hello")
            assert reader.wait() == b"hello"
            assert second.version() == "TLSv1.3"
            assert first.version() is None


@pytest.mark.parametrize(
    "first_use", [lambda sock: sock.recv(1), lambda sock: sock.sendall(b"x"), lambda sock: sock.do_handshake()]
)
def test_any_first_use_does_the_handshake(version, first_use):
    a, b = socketpair()
    with wrap_ssl(a, asking_context(version), server_hostname="localhost", do_handshake_on_connect=False) as client:
        client.settimeout(DEADLINE)
        user = spawn(first_use, client)
        with wrap_ssl(b, serving_context(version), server_side=True) as server:
            server.sendall(b"y")
            user.wait()
            assert client.version() == server.version()
            client.close()
            read_all(server)
            assert not server.truncated, "who has done a handshake says goodbye"


def test_two_may_use_it_before_the_handshake(version):
    a, b = socketpair()
    with wrap_ssl(b, serving_context(version), server_side=True, do_handshake_on_connect=False) as server:
        server.settimeout(DEADLINE)
        users = [spawn(server.recv, 10), spawn(server.sendall, b"from server"), spawn(server.do_handshake)]
        let_run()
        with wrap_ssl(a, asking_context(version), server_hostname="localhost") as client:
            client.sendall(b"to server")
            assert read_exactly(client, 11) == b"from server"
            assert [user.wait() for user in users] == [b"to server", None, None]


def test_a_handshake_that_comes_a_byte_at_a_time_comes_about(version):
    """As do the records after it. The relay between the two passes on single bytes."""
    (a, near), (far, b) = socketpair(), socketpair()

    def relay(source: GreenSocket, target: GreenSocket) -> None:
        with contextlib.suppress(BrokenPipeError):  # the last goodbye is for somebody who has gone
            while byte := source.recv(1):
                target.sendall(byte)
        target.shutdown_write()

    relays = [spawn(relay, near, far), spawn(relay, far, near)]
    client, server = wrap_pair(a, b, version)
    with near, far, server:
        with client:
            client.sendall(b"question")
            assert read_exactly(server, 8) == b"question"
            server.sendall(b"answer")
            assert read_exactly(client, 6) == b"answer"
        assert server.recv(1) == b""
        assert not server.truncated
        server.close()
        for thread in relays:
            thread.wait()


def test_a_handshake_that_is_given_up_leaves_no_open_socket():
    a, b = socketpair()
    with b:
        with pytest.raises(Timeout), Timeout(0.01):
            wrap_ssl(a, asking_context(), server_hostname="localhost")
        b.settimeout(DEADLINE)
        assert read_all(b)[:1] == b"\x16", "a record of the handshake, and then the end"


def test_a_client_that_has_left_again_is_passed_over(listener):
    connect(listener.getsockname()).abort()
    asking = spawn(connect_to, listener)
    conn, _ = next(connections_of(listener))
    with conn:
        conn.sendall(b"x")
        with asking.wait() as client:
            assert client.recv(1) == b"x"


def test_accept_says_that_the_client_has_left(listener):
    connect(listener.getsockname()).abort()
    with pytest.raises(ConnectionAbortedError):
        listener.accept()


def test_what_is_no_tls_at_all_is_an_ssl_error(listener):
    with connect(listener.getsockname()) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        conn, _ = listener.accept()
        with conn, pytest.raises(ssl.SSLError) as caught:
            conn.recv(1)
        assert caught.value.reason == "HTTP_REQUEST"


@pytest.mark.parametrize("shown", [True, False], ids=["with a certificate", "without"])
def test_a_client_without_the_certificate_that_is_required_is_turned_away(version, shown):
    serving = serving_context(version)
    authority().configure_trust(serving)
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = asking_context(version)
    if shown:
        authority().issue_cert(common_name="Ann").configure_cert(asking)
    a, b = socketpair()
    with wrap_ssl(b, serving, server_side=True, do_handshake_on_connect=False) as server:
        greeting = spawn(server.sendall, b"hello")
        if shown:
            with wrap_ssl(a, asking, server_hostname="localhost") as client:
                assert client.recv(5) == b"hello"
                greeting.wait()
                assert server.getpeercert()["subject"][-1] == (("commonName", "Ann"),)
        else:
            with pytest.raises(ssl.SSLError), wrap_ssl(a, asking, server_hostname="localhost") as client:
                client.recv(5)  # in TLS 1.3 the client learns of it here
            with pytest.raises(ssl.SSLError) as caught:
                greeting.wait()
            assert caught.value.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")
def test_renegotiation_is_refused(tmp_path: Path):
    files = write_files(tmp_path)
    with wrap_ssl(listen(("127.0.0.1", 0)), server_context(files.both)) as listener:
        port = listener.getsockname()[1]
        with subprocess.Popen(
            ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as program:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(DEADLINE)
                conn.sendall(b"hello")
                program.stdin.write(b"first\n")
                program.stdin.flush()
                assert conn.recv(100) == b"first\n"
                program.stdin.write(b"R\n")  # asks for renegotiation
                program.stdin.flush()
                with pytest.raises(ssl.SSLError):  # the program gives up
                    while conn.recv(100):
                        pass
            output, _ = program.communicate(timeout=DEADLINE)
    assert b"no renegotiation" in output
