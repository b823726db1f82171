"""Green TLS sockets, held against the standard ones method by method. ``test_tls_waiting`` has what is theirs alone."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from greenserve import spawn
from greenserve.net import GreenSocket, socketpair
from greenserve.net.tls import wrap_ssl
from tests.certificates import VERSIONS, asking_context, serving_context
from tests.net.worlds import BIG, read_exactly
from tests.sync.threads import OSThread


class World:
    """Pairs of TLS sockets of one kind, and a way to do something beside."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        self.asking = asking_context(version)
        self.serving = serving_context(version)
        self._made: list[Any] = []

    def keep(self, sock: Any) -> Any:
        self._made.append(sock)
        return sock

    def plain_pair(self) -> tuple[Any, Any]:
        raise NotImplementedError

    def wrap(self, sock: Any, context: ssl.SSLContext, **keywords: Any) -> Any:
        raise NotImplementedError

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        raise NotImplementedError

    def pair(self, **keywords: Any) -> tuple[Any, Any]:
        """A client and its server, after their handshake."""
        a, b = self.plain_pair()
        server = self.start(partial(self.wrap, b, self.serving, server_side=True, **keywords))
        client = self.wrap(a, self.asking, server_hostname="localhost", **keywords)
        return self.keep(client), self.keep(server.wait())

    def close(self) -> None:
        for sock in self._made:
            with contextlib.suppress(OSError):
                sock.close()


class Standard(World):
    def plain_pair(self) -> tuple[Any, Any]:
        return socket.socketpair()

    def wrap(self, sock: Any, context: ssl.SSLContext, **keywords: Any) -> Any:
        return context.wrap_socket(sock, **keywords)

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        return OSThread(partial(function, *args))


class Green(World):
    def plain_pair(self) -> tuple[Any, Any]:
        return socketpair()

    def wrap(self, sock: Any, context: ssl.SSLContext, **keywords: Any) -> Any:
        return wrap_ssl(sock, context, **keywords)

    def start(self, function: Callable[..., Any], *args: Any) -> Any:
        return spawn(function, *args)


Script = Callable[[World], Any]
SCRIPTS: list[Script] = []


def script(function: Script) -> Script:
    """Something done with TLS sockets. It returns what was observed."""
    SCRIPTS.append(function)
    return function


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda function: function.__name__)
def test_a_green_tls_socket_does_what_a_standard_one_does(script: Script, version: ssl.TLSVersion) -> None:
    observed = []
    for kind in (Standard, Green):
        world = kind(version)
        try:
            observed.append(script(world))
        finally:
            world.close()
    standard, green = observed
    assert green == standard
    assert standard is not None


def outcome(function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """What a call returns, or the class of what it raises."""
    try:
        return function(*args, **keywords)
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is what is observed
        return type(exc)


@script
def bytes_go_both_ways(world: World) -> Any:
    client, server = world.pair()
    client.sendall(b"question")
    question = read_exactly(server, 8)
    server.sendall(b"answer")
    return question, read_exactly(client, 6), client.recv(0)


@script
def both_sides_can_send_much_at_once(world: World) -> Any:
    client, server = world.pair()
    tasks = [world.start(sock.sendall, BIG) for sock in (client, server)]
    tasks += [world.start(read_exactly, sock, len(BIG)) for sock in (client, server)]
    return [task.wait() == BIG for task in tasks[2:]], [task.wait() for task in tasks[:2]]


@script
def what_is_sent_may_be_any_buffer(world: World) -> Any:
    client, server = world.pair()
    sizes = [client.send(b""), client.send(bytearray(b"ab")), client.send(memoryview(b"cdef")[::1]), client.write(b"g")]
    client.sendall(memoryview(b"hij"))
    return sizes, read_exactly(server, 10)


@script
def a_read_takes_from_one_record_and_leaves_the_rest(world: World) -> Any:
    client, server = world.pair()
    client.sendall(b"first record")
    client.sendall(b"second")
    parts = [server.recv(5), server.pending(), server.recv(100), server.pending()]
    return parts, server.recv(100)


@script
def recv_into_and_read_fill_buffers(world: World) -> Any:
    client, server = world.pair()
    client.sendall(b"abcdefgh")
    small, large = bytearray(3), bytearray(4)
    counts = [server.recv_into(small), server.recv_into(large, 2), server.read(1, large)]
    return counts, server.read(1), small, large, server.recv_into(bytearray(0))


@script
def a_file_over_it_reads_lines_and_writes(world: World) -> Any:
    client, server = world.pair()
    with client.makefile("w", encoding="ascii") as file:
        file.write("one\ntwo\n")
    with server.makefile("rb") as file:
        return file.readline(), file.readline()


@script
def a_file_is_sent(world: World) -> Any:
    client, server = world.pair()
    content = io.BytesIO(BIG)
    sender = world.start(client.sendfile, content, 7, 100_000)
    received = read_exactly(server, 100_000)
    return sender.wait(), received == BIG[7:100_007], content.tell()


@script
def what_does_not_go_with_tls_is_refused(world: World) -> Any:
    client, server = world.pair()
    return [
        outcome(client.recv, 1, socket.MSG_PEEK),
        outcome(client.recv_into, bytearray(1), 1, socket.MSG_PEEK),
        outcome(client.send, b"x", socket.MSG_DONTWAIT),
        outcome(client.sendall, b"x", socket.MSG_DONTWAIT),
        outcome(client.sendto, b"x", ("127.0.0.1", 1)),
        outcome(client.recvfrom, 1),
        outcome(client.recvmsg, 1),
        outcome(client.recvmsg_into, [bytearray(1)]),
        outcome(client.sendmsg, [b"x"]),
        outcome(client.dup),
        outcome(ssl.SSLSocket),
        outcome(type(client)),
        outcome(server.connect, ("127.0.0.1", 1)),
    ]


@script
def both_sides_know_what_they_agreed_on(world: World) -> Any:
    world.asking.set_alpn_protocols(["h2", "http/1.1"])
    world.serving.set_alpn_protocols(["http/1.1"])
    client, server = world.pair()
    certificate = client.getpeercert()
    return (
        isinstance(client, ssl.SSLSocket),
        [(sock.version(), sock.cipher(), sock.selected_alpn_protocol(), sock.server_side) for sock in (client, server)],
        [certificate["subjectAltName"], len(client.getpeercert(binary_form=True)), server.getpeercert()],
        [client.server_hostname, client.compression(), client.context is world.asking],
        server.get_channel_binding("tls-unique") == client.get_channel_binding("tls-unique"),
    )


@script
def the_server_can_choose_its_certificate_by_the_name_that_is_asked_for(world: World) -> Any:
    other = serving_context(host="other.example")
    asked = []

    def choose(sock: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
        asked.append((isinstance(sock, ssl.SSLSocket), name, context is world.serving))
        sock.context = other

    world.serving.sni_callback = choose
    a, b = world.plain_pair()
    server = world.start(partial(world.wrap, b, world.serving, server_side=True))
    client = world.keep(world.wrap(a, world.asking, server_hostname="other.example"))
    world.keep(server.wait())
    return asked, client.getpeercert()["subjectAltName"]


@script
def a_session_is_taken_up_again(world: World) -> Any:
    client, server = world.pair()
    server.sendall(b"x")
    client.recv(1)  # the tickets of TLS 1.3 come with the first bytes
    a, b = world.plain_pair()
    second = world.start(partial(world.wrap, b, world.serving, server_side=True))
    world.asking.sslsocket_class = type(client)
    resumed = world.keep(world.asking.wrap_socket(a, server_hostname="localhost", session=client.session))
    world.keep(second.wait())
    return client.session_reused, resumed.session_reused


@script
def a_wrong_name_and_an_unknown_authority_are_refused(world: World) -> Any:
    seen = []
    for context, name in [(world.asking, "else.example"), (ssl.create_default_context(), "localhost")]:
        a, b = world.plain_pair()
        server = world.start(outcome, partial(world.wrap, b, world.serving, server_side=True))
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            world.wrap(a, context, server_hostname=name)
        seen.append((caught.value.reason, caught.value.verify_code, a.fileno()))
        a.close()
        result = server.wait()
        seen.append(result if isinstance(result, type) else result.close())
    return seen


@script
def a_non_blocking_socket_never_waits(world: World) -> Any:
    client, server = world.pair()
    server.sendall(b"x")
    read_exactly(client, 1)
    client.setblocking(False)
    seen = [outcome(client.recv, 1), outcome(client.recv_into, bytearray(1))]
    size = 65536
    with contextlib.suppress(ssl.SSLWantWriteError):
        while True:
            client.send(bytes(size))
    return [*seen, outcome(client.send, bytes(size)), client.gettimeout()]


@script
def a_timeout_ends_a_wait(world: World) -> Any:
    client, server = world.pair()
    client.settimeout(0.01)
    server.settimeout(0.01)
    seen = [outcome(client.recv, 1), outcome(server.sendall, BIG * 4)]
    client.settimeout(5)
    return [*seen, outcome(client.recv, 5), client.timeout]


@script
def a_handshake_has_the_sockets_timeout(world: World) -> Any:
    a, b = world.plain_pair()
    world.keep(b)
    a.settimeout(0.01)
    return outcome(world.wrap, a, world.asking, server_hostname="localhost")


@script
def no_handshake_is_done_on_a_non_blocking_socket_unless_asked_for(world: World) -> Any:
    a, b = world.plain_pair()
    world.keep(b)
    a.setblocking(False)
    refused = outcome(world.wrap, a, world.asking, server_hostname="localhost")
    a, b = world.plain_pair()
    a.setblocking(False)
    client = world.keep(world.wrap(a, world.asking, server_hostname="localhost", do_handshake_on_connect=False))
    wants = outcome(client.do_handshake)
    server = world.start(partial(world.wrap, b, world.serving, server_side=True))
    client.do_handshake(block=True)
    return refused, wants, client.version() == world.keep(server.wait()).version(), client.gettimeout()


@script
def plain_bytes_may_follow_when_both_have_ended_tls(world: World) -> Any:
    client, server = world.pair()
    other = world.start(server.unwrap)
    plain, other_plain = client.unwrap(), other.wait()
    plain.sendall(b"plain")
    return read_exactly(other_plain, 5), plain.version(), outcome(plain.unwrap), outcome(plain.read), plain.pending()


@script
def an_end_without_a_goodbye_is_an_end_unless_it_is_asked_for(world: World) -> Any:
    seen = []
    for suppress in (True, False):
        client, server = world.pair(suppress_ragged_eofs=suppress)
        client.sendall(b"last")
        os.close(client.detach())
        seen += [server.recv(10), outcome(server.recv, 10)]
    return seen


@script
def a_client_that_is_not_connected_yet_does_its_handshake_when_it_is(world: World) -> Any:
    listener = world.keep(socket.create_server(("127.0.0.1", 0)))
    seen = []
    for connect in ("connect", "connect_ex"):
        plain = GreenSocket() if isinstance(world, Green) else socket.socket()
        client = world.keep(world.wrap(plain, world.asking, server_hostname="localhost", server_side=False))
        before = client.version(), outcome(client.recv, 1)

        def serve() -> bytes:
            accepted = listener.accept()[0]
            with serving_context().wrap_socket(accepted, server_side=True) as server:
                server.sendall(b"hello")
                return server.recv(1)

        beside = OSThread(serve)
        result = getattr(client, connect)(listener.getsockname())
        seen.append((before, result, read_exactly(client, 5)))
        client.close()
        seen.append(beside.wait())
    return seen
