from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.net.worlds import BIG, Script, Scripts, World, compare, outcome, read_all, temporary_file

script = Scripts()


@pytest.mark.parametrize("script", script, ids=lambda function: function.__name__)
def test_a_green_sockets_files_are_those_of_a_plain_one(script: Script) -> None:
    compare(script)


@script
def makefile_reads_lines(world: World) -> Any:
    a, b = world.pair()
    with b.makefile("rb") as file:
        reader = world.start(lambda: [file.readline(), file.read(3), file.read1(100), file.readlines()])
        for part in (b"fir", b"st\nsec", b"ond\n", b"third\nfourth"):
            a.sendall(part)
        a.close()
        lines = reader.wait()
    return b"".join([*lines[:3], *lines[3]]), lines[0], lines[1], type(file).__name__


@script
def makefile_reads_into_a_buffer(world: World) -> Any:
    a, b = world.pair()
    a.sendall(b"hello, world")
    with b.makefile("rb", buffering=0) as raw, b.makefile("rb") as buffered:
        buffer = bytearray(5)
        return raw.readinto(buffer), buffer, buffered.readinto(bytearray(2)), buffered.peek(), type(raw).__name__


@script
def makefile_makes_text(world: World) -> Any:
    a, b = world.pair()
    with a.makefile("w", encoding="utf-8", newline="\r\n") as out, b.makefile(encoding="utf-8", newline="") as file:
        print("grün", file=out, flush=True)
        return file.readline(), file.mode, out.mode


@script
def makefile_reads_and_writes(world: World) -> Any:
    a, b = world.pair()
    with a.makefile("rwb") as left, b.makefile("rwb") as right:
        left.write(b"ping\n")
        left.flush()
        seen = [right.readline()]
        right.write(b"pong\n")
        right.flush()
        return [*seen, left.readline()]


@script
def a_big_write_through_a_file_arrives(world: World) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    with a.makefile("wb") as file:
        written = file.write(BIG)
    a.close()
    return written, receiver.wait() == BIG


@script
def a_file_whose_socket_timed_out_reads_no_more(world: World) -> Any:
    _, b = world.pair()
    b.settimeout(0.01)
    with b.makefile("rb") as file, b.makefile("rb", 0) as raw:
        seen = [outcome(file.read, 1), outcome(file.read, 1)]
        b.setblocking(False)
        return seen, raw.read(1)


@script
def a_file_keeps_its_socket_open(world: World) -> Any:
    a, b = world.pair()
    file = b.makefile("rb")
    b.close()
    a.sendall(b"hello\n")
    line, was_open = file.readline(), b.fileno() >= 0
    file.close()
    return line, was_open, b.fileno(), outcome(a.send, b"x")


@script
def a_mode_that_is_none_is_refused(world: World) -> Any:
    a, _ = world.pair()
    return outcome(a.makefile, "x"), outcome(a.makefile, "r", buffering=0)


# Sending files -------------------------------------------------------------------------------------------------------


def send_file(world: World, make_file: Callable[[], Any], *args: Any) -> Any:
    a, b = world.pair()
    receiver = world.start(read_all, b)
    with make_file() as file:
        sent = a.sendfile(file, *args)
        position = file.tell()
    a.close()
    return sent, position, receiver.wait()


@script
def sendfile_sends_a_regular_file(world: World) -> Any:
    sent, position, received = send_file(world, temporary_file)
    return sent, position, received == BIG


@script
def sendfile_sends_a_part(world: World) -> Any:
    sent, position, received = send_file(world, temporary_file, 1000, 1_500_000)
    return sent, position, received == BIG[1000:1_501_000]


@script
def sendfile_ends_with_the_file(world: World) -> Any:
    sent, position, received = send_file(world, temporary_file, len(BIG) - 10, 100)
    return sent, position, received, send_file(world, temporary_file, len(BIG) + 10)


@script
def sendfile_sends_what_is_no_file_of_the_system(world: World) -> Any:
    sent, position, received = send_file(world, lambda: io.BytesIO(BIG), 5)
    return sent, position, received == BIG[5:], send_file(world, lambda: io.BytesIO(BIG), 3, 4)


@script
def sendfile_refuses_what_it_can_not_send(world: World) -> Any:
    a, _ = world.pair()
    datagram, _ = world.pair(socket.SOCK_DGRAM)
    file = io.BytesIO(b"x")
    with open(os.devnull, encoding="utf-8") as text:
        return (
            outcome(a.sendfile, text),
            outcome(a.sendfile, file, 0, 0),
            outcome(a.sendfile, file, 0, -1),
            outcome(a.sendfile, file, 0, 1.5),
            outcome(datagram.sendfile, file),
        )
