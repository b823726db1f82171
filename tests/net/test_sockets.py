from __future__ import annotations

import array
import copy
import io
import os
import pickle
import socket
import struct
from typing import Any

import pytest

from tests.net.worlds import BIG, Script, Scripts, World, compare, outcome, read_all, read_exactly

script = Scripts()


@pytest.mark.parametrize("script", script, ids=lambda function: function.__name__)
def test_a_green_socket_does_what_a_plain_one_does(script: Script) -> None:
    compare(script)


# Receiving -----------------------------------------------------------------------------------------------------------


@script
def recv_waits_and_returns_what_there_is(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(b.recv, 100)
    a.sendall(b"hello")
    return receiver.wait()


@script
def recv_returns_nothing_at_the_end_of_the_stream(world: World) -> Any:
    a, b = world.pair()
    a.sendall(b"hello")
    a.close()
    return b.recv(3), b.recv(100), b.recv(100), b.recv(0)


@script
def recv_into_fills_up_to_nbytes(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(lambda: (buffer := bytearray(10), b.recv_into(buffer, 3)))
    a.sendall(b"hello")
    rest = bytearray(4)
    return receiver.wait(), b.recv_into(memoryview(rest)), rest


@script
def recv_into_takes_keywords(world: World) -> Any:
    a, b = world.pair()
    a.sendall(b"hello")
    buffer = bytearray(5)
    return b.recv_into(buffer=buffer, nbytes=2, flags=socket.MSG_PEEK), buffer


@script
def recv_into_a_buffer_that_is_too_small_for_nbytes_is_refused(world: World) -> Any:
    _, b = world.pair()
    return outcome(b.recv_into, bytearray(3), 4), outcome(b.recv_into, b"read only"), outcome(b.recv, -1)


@script
def recvfrom_returns_data_and_the_sender(world: World) -> Any:
    a = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    b = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind(("127.0.0.1", 0))
    b.bind(("127.0.0.1", 0))
    receiver = world.start(lambda: [b.recvfrom(100), b.recvfrom(2)])
    sent = [a.sendto(b"hello", b.getsockname()), a.sendto(b"world", 0, b.getsockname())]
    return [(data, address == a.getsockname()) for data, address in receiver.wait()], sent


@script
def recvfrom_into_returns_a_count_and_the_sender(world: World) -> Any:
    a, b = world.pair(socket.SOCK_DGRAM)
    buffer = bytearray(10)
    receiver = world.start(b.recvfrom_into, buffer, 4)
    a.send(b"hello")
    return receiver.wait(), buffer


@script
def recvmsg_returns_ancillary_data(world: World) -> Any:
    a, b = world.pair()
    with open(os.devnull, "rb") as file:
        rights = struct.pack("i", file.fileno())
        receiver = world.start(b.recvmsg, 100, socket.CMSG_SPACE(4))
        sent = a.sendmsg([b"he", b"llo"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        data, ancillary, flags, address = receiver.wait()
    for _, _, fds in ancillary:
        os.close(struct.unpack("i", fds)[0])
    return sent, data, [(level, kind, len(fds)) for level, kind, fds in ancillary], int(flags) & ~0x40000000, address


@script
def recvmsg_into_fills_one_buffer_after_the_other(world: World) -> Any:
    a, b = world.pair()
    buffers = [bytearray(2), bytearray(10)]
    receiver = world.start(b.recvmsg_into, iter(buffers))
    a.sendall(b"hello")
    return receiver.wait()[0], buffers


@script
def peeking_takes_nothing(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(b.recv, 3, socket.MSG_PEEK)
    a.sendall(b"hello")
    return receiver.wait(), b.recv(10)


@script
def msg_dontwait_does_not_wait(world: World) -> Any:
    a, b = world.pair()
    return (
        outcome(b.recv, 1, socket.MSG_DONTWAIT),
        outcome(b.recv_into, bytearray(1), 0, socket.MSG_DONTWAIT),
        outcome(b.recvfrom, 1, socket.MSG_DONTWAIT),
        outcome(b.recvmsg, 1, 0, socket.MSG_DONTWAIT),
        a.send(BIG, socket.MSG_DONTWAIT) < len(BIG),
        outcome(a.send, BIG, socket.MSG_DONTWAIT),
        outcome(a.sendmsg, [BIG], [], socket.MSG_DONTWAIT),
    )


@script
def msg_waitall_waits_for_everything_or_the_end(world: World) -> Any:
    a, b = world.pair()
    buffer = bytearray(10)
    receiver = world.start(
        lambda: [
            b.recv(6, socket.MSG_WAITALL),
            b.recv_into(buffer, 4, socket.MSG_WAITALL),
            b.recv(9, socket.MSG_WAITALL),
        ]
    )
    for byte in b"hello, world":
        a.sendall(bytes([byte]))
    a.close()
    return receiver.wait(), buffer


@script
def receiving_from_a_socket_that_is_not_connected_fails(world: World) -> Any:
    return outcome(world.new(socket.AF_INET, socket.SOCK_STREAM).recv, 1)


# Sending -------------------------------------------------------------------------------------------------------------


@script
def send_returns_when_everything_was_sent(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    sent = a.send(BIG)
    a.close()
    return sent, receiver.wait() == BIG


@script
def sendall_sends_everything(world: World) -> Any:
    a, b = world.tcp_pair()
    receiver = world.start(read_all, b)
    sent = a.sendall(bytearray(BIG))
    a.close()
    return sent, receiver.wait() == BIG


@script
def sendmsg_sends_all_buffers(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    sent = a.sendmsg(iter([b"first", BIG, b"", array.array("i", range(100_000)), BIG[:7]]))
    a.close()
    expected = b"first" + BIG + array.array("i", range(100_000)).tobytes() + BIG[:7]
    return sent == len(expected), receiver.wait() == expected


@script
def sendto_on_a_stream_sends_everything(world: World) -> Any:
    a, b = world.tcp_pair()
    receiver = world.start(read_all, b)
    sent = a.sendto(BIG, b.getsockname())
    a.close()
    return sent, receiver.wait() == BIG


@script
def what_counts_is_bytes_and_not_items(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    items = array.array("q", range(200_000))
    sent = [a.send(items), a.send(memoryview(items)[:3]), a.sendall(items)]
    a.close()
    return sent, receiver.wait() == items.tobytes() + items[:3].tobytes() + items.tobytes()


@script
def sending_nothing_is_allowed(world: World) -> Any:
    a, _ = world.pair()
    c, d = world.pair(socket.SOCK_DGRAM)
    return a.send(b""), a.sendall(b""), a.sendmsg([]), c.send(b""), d.recv(10)


@script
def what_is_no_buffer_is_refused(world: World) -> Any:
    a, _ = world.pair()
    strided = memoryview(bytes(100))[::2]
    return [outcome(method, data) for method in (a.send, a.sendall) for data in ("text", 5, None, strided)]


@script
def sending_to_a_peer_that_has_left_fails(world: World) -> Any:
    a, b = world.pair()
    b.close()
    return outcome(a.send, b"x"), outcome(a.sendall, b"x"), outcome(a.sendmsg, [b"x"])


@script
def a_peer_that_leaves_in_the_middle_ends_a_send(world: World) -> Any:
    a, b = world.pair()
    sender = world.start(outcome, a.sendall, BIG)
    read_exactly(b, 100_000)
    b.close()
    return sender.wait()


@script
def a_datagram_waits_for_room(world: World) -> Any:
    a, b = world.pair(socket.SOCK_DGRAM)
    receiver = world.start(lambda: [len(b.recv(2000)) for _ in range(300)])
    return [a.send(bytes(1000)) for _ in range(300)] == receiver.wait()


@script
def sendto_without_an_address_is_refused(world: World) -> Any:
    a = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    return outcome(a.sendto, b"x"), outcome(a.sendto, b"x", None), outcome(a.sendto, b"x", ("127.0.0.1",))


# Modes and timeouts --------------------------------------------------------------------------------------------------


@script
def the_mode_is_what_was_set(world: World) -> Any:
    a, _ = world.pair()
    seen = [(a.gettimeout(), a.timeout, a.getblocking())]
    for change in (
        lambda: a.settimeout(2),
        lambda: a.setblocking(False),
        lambda: a.settimeout(0.5),
        lambda: a.setblocking(1),
        lambda: a.settimeout(0),
        lambda: a.settimeout(None),
        lambda: a.settimeout(True),
    ):
        change()
        seen.append((a.gettimeout(), a.timeout, a.getblocking()))
    return seen


@script
def what_is_no_timeout_is_refused(world: World) -> Any:
    a, _ = world.pair()
    values = ("1", [], 1j, -1, -0.001, float("nan"), float("inf"), 1e300)
    return [outcome(a.settimeout, value) for value in values], a.gettimeout()


@script
def a_socket_may_be_made_non_blocking(world: World) -> Any:
    a = world.new(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    return a.gettimeout(), a.type, os.get_blocking(a.fileno())


@script
def a_timeout_ends_each_operation(world: World) -> Any:
    a, b = world.pair()
    listener = world.listener()
    for sock in (a, b, listener):
        sock.settimeout(0.01)
    return [
        outcome(b.recv, 1),
        outcome(b.recv_into, bytearray(1)),
        outcome(b.recvfrom, 1),
        outcome(b.recvmsg, 1),
        outcome(listener.accept),
        outcome(a.sendall, BIG),
        outcome(a.send, BIG),
        outcome(a.sendmsg, [BIG]),
    ]


@script
def a_timeout_says_so(world: World) -> Any:
    _, b = world.pair()
    b.settimeout(0.001)
    with pytest.raises(TimeoutError) as caught:
        b.recv(1)
    return str(caught.value), caught.value.errno


@script
def a_non_blocking_socket_never_waits(world: World) -> Any:
    a, b = world.pair()
    listener = world.listener()
    for sock in (a, b, listener):
        sock.setblocking(False)
    return [
        outcome(b.recv, 1),
        outcome(b.recv_into, bytearray(1)),
        outcome(b.recvfrom, 1),
        outcome(b.recvfrom_into, bytearray(1)),
        outcome(b.recvmsg, 1),
        outcome(b.recvmsg_into, [bytearray(1)]),
        outcome(listener.accept),
        a.send(BIG) < len(BIG),
        outcome(a.send, BIG),
        outcome(a.sendall, BIG),
        outcome(a.sendmsg, [BIG]),
        outcome(a.sendfile, io.BytesIO(b"x")),
    ]


@script
def a_non_blocking_sendall_that_does_not_fit_fails(world: World) -> Any:
    a, _ = world.pair()
    a.setblocking(False)
    return outcome(a.sendall, BIG), outcome(a.sendall, b"", 0)


@script
def a_default_timeout_is_that_of_new_sockets(world: World) -> Any:
    socket.setdefaulttimeout(12.5)
    try:
        a, _ = world.pair()
        client, accepted = world.tcp_pair()
        return [sock.gettimeout() for sock in (a, client, accepted, world.keep(a.dup()))]
    finally:
        socket.setdefaulttimeout(None)


@script
def an_accepted_socket_is_blocking_whatever_its_listener_is(world: World) -> Any:
    listener = world.listener()
    seen = []
    for timeout in (None, 5, 0):
        client = world.new(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        listener.settimeout(timeout)
        seen.append(world.keep(listener.accept()[0]).gettimeout())
    return seen


# Connecting ----------------------------------------------------------------------------------------------------------


@script
def accept_waits_for_a_connection(world: World) -> Any:
    listener = world.listener()
    acceptor = world.start(listener.accept)
    client = world.new(socket.AF_INET, socket.SOCK_STREAM)
    connected = client.connect(listener.getsockname())
    accepted, address = acceptor.wait()
    world.keep(accepted)
    client.sendall(b"hello")
    facts = accepted.family, accepted.type, accepted.proto, accepted.get_inheritable()
    return connected, address == client.getsockname(), accepted.recv(10), facts


@script
def ipv6_has_addresses_of_four(world: World) -> Any:
    client, accepted = world.tcp_pair(socket.AF_INET6)
    client.sendall(b"hello")
    return accepted.recv(10), accepted.getpeername() == client.getsockname(), client.getsockname()[2:]


@script
def a_name_is_looked_up(world: World) -> Any:
    listener = world.listener()
    client = world.new(socket.AF_INET, socket.SOCK_STREAM)
    client.connect(("localhost", listener.getsockname()[1]))
    bound = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("localhost", 0))
    other = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    sent = [
        other.sendto(b"x", ("localhost", bound.getsockname()[1])),
        other.sendmsg([b"y"], [], 0, (b"localhost", bound.getsockname()[1])),
    ]
    any_address = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    any_address.bind(("", 0))
    return (
        client.getpeername() == listener.getsockname(),
        sent,
        bound.recv(9),
        bound.recv(9),
        any_address.getsockname()[0],
    )


@script
def a_name_that_is_none_fails(world: World) -> Any:
    client = world.new(socket.AF_INET, socket.SOCK_STREAM)
    return outcome(client.connect, ("no such name.invalid", 80)), outcome(client.bind, ("no such name.invalid", 80))


@script
def a_connection_that_is_refused_fails(world: World) -> Any:
    listener = world.listener()
    address = listener.getsockname()
    listener.close()
    seen = []
    for timeout in (None, 5):
        for method in ("connect", "connect_ex"):
            client = world.new(socket.AF_INET, socket.SOCK_STREAM)
            client.settimeout(timeout)
            seen.append(outcome(getattr(client, method), address))
    return seen


@script
def a_non_blocking_connect_goes_on_in_the_background(world: World) -> Any:
    listener = world.listener()
    seen = []
    for method in ("connect", "connect_ex"):
        client = world.new(socket.AF_INET, socket.SOCK_STREAM)
        client.setblocking(False)
        seen.append(outcome(getattr(client, method), listener.getsockname()))
    return seen


@script
def connecting_twice_fails(world: World) -> Any:
    client, accepted = world.tcp_pair()
    return outcome(client.connect, accepted.getsockname()), client.connect_ex(accepted.getsockname())


@script
def an_address_that_is_none_is_refused(world: World) -> Any:
    client = world.new(socket.AF_INET, socket.SOCK_STREAM)
    addresses = ("127.0.0.1", ("127.0.0.1",), ("127.0.0.1", "80"), (5, 80), ("127.0.0.1", 70000), (), None)
    return [outcome(method, address) for address in addresses for method in (client.connect, client.bind)]


@script
def an_address_in_use_can_not_be_bound(world: World) -> Any:
    return outcome(world.new(socket.AF_INET, socket.SOCK_STREAM).bind, world.listener().getsockname())


@script
def a_datagram_socket_may_be_connected(world: World) -> Any:
    a = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    b = world.new(socket.AF_INET, socket.SOCK_DGRAM)
    b.bind(("127.0.0.1", 0))
    return a.connect(b.getsockname()), a.send(b"hello"), b.recv(9)


@script
def create_connection_tries_each_address(world: World) -> Any:
    listener = world.listener()
    port = listener.getsockname()[1]
    client = world.keep(world.create_connection(("localhost", port)))
    timed = world.keep(world.create_connection(("127.0.0.1", port), 7, ("127.0.0.1", 0)))
    default = world.keep(world.create_connection(("127.0.0.1", port), timeout=socket._GLOBAL_DEFAULT_TIMEOUT))  # type: ignore[attr-defined]
    connected = [client.gettimeout(), timed.gettimeout(), default.gettimeout(), client.getpeername()[1] == port]
    listener.close()
    return connected, outcome(world.create_connection, ("127.0.0.1", port))


# The object ----------------------------------------------------------------------------------------------------------


@script
def a_closed_socket_refuses_everything(world: World) -> Any:
    a, _ = world.pair()
    a.close()
    a.close()
    calls: list[tuple[Any, ...]] = [
        (a.recv, 1),
        (a.recv_into, bytearray(1)),
        (a.send, b"x"),
        (a.sendall, b"x"),
        (a.sendmsg, [b"x"]),
        (a.accept,),
        (a.connect, "/nowhere"),
        (a.getsockname,),
        (a.dup,),
    ]
    return a.fileno(), [outcome(*call) for call in calls]


@script
def a_with_block_closes_the_socket(world: World) -> Any:
    a, b = world.pair()
    with a as entered:
        same = entered is a
    return same, a.fileno(), b.recv(1)


@script
def a_copy_shares_the_connection(world: World) -> Any:
    a, b = world.pair()
    a.settimeout(9)
    other = world.keep(a.dup())
    a.close()
    other.sendall(b"hello")
    return b.recv(9), other.gettimeout(), other.get_inheritable(), type(other) is type(a)


@script
def detach_gives_the_fd_away(world: World) -> Any:
    a, b = world.pair()
    number = a.fileno()
    fd = a.detach()
    again = world.new(fileno=fd)
    again.sendall(b"hello")
    return fd == number, a.fileno(), b.recv(9), again.family, again.type, outcome(a.recv, 1), a.detach()


@script
def fromfd_copies_the_fd(world: World) -> Any:
    a, b = world.pair()
    copied = world.keep(world.fromfd(a.fileno(), socket.AF_UNIX, socket.SOCK_STREAM))
    copied.sendall(b"hello")
    return b.recv(9), copied.fileno() != a.fileno(), copied.gettimeout()


@script
def what_is_no_socket_is_refused(world: World) -> Any:
    with open(os.devnull, "rb") as file:
        return outcome(world.new, fileno=file.fileno()), outcome(world.new, fileno=-1), outcome(world.new, 9999)


@script
def shutdown_ends_one_direction(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    a.sendall(b"hello")
    a.shutdown(socket.SHUT_WR)
    received = receiver.wait()
    b.sendall(b"bye")
    return received, a.recv(9), outcome(a.send, b"x")


@script
def shutdown_wakes_who_receives(world: World) -> Any:
    _, b = world.pair()
    receiver = world.start(b.recv, 9)
    b.shutdown(socket.SHUT_RD)
    return receiver.wait()


@script
def family_and_type_are_enums(world: World) -> Any:
    a, _ = world.pair()
    return repr(a.family), repr(a.type), a.proto, isinstance(a, socket.socket)


@script
def a_socket_can_not_be_pickled_or_copied(world: World) -> Any:
    a, _ = world.pair()
    return outcome(pickle.dumps, a), outcome(copy.copy, a)


@script
def options_are_those_of_the_system(world: World) -> Any:
    a = world.new(socket.AF_INET, socket.SOCK_STREAM)
    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    a.set_inheritable(True)
    return a.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0, a.get_inheritable()
