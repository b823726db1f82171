"""What only a green socket has."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from greenserve import sleep, spawn
from greenserve.net import GreenSocket, fromfd, listen, socketpair
from tests.net.worlds import BIG, outcome, read_all, read_exactly, temporary_file
from tests.sync.threads import let_run


def test_send_in_blocking_mode_sends_twenty_megabytes_to_a_slow_reader() -> None:
    a, b = socketpair()
    data = bytes(20_000_000)
    sender = spawn(a.send, data)
    with a, b:
        received = 0
        while received < len(data):
            received += len(b.recv(100_000))
        assert sender.wait() == 20_000_000 == received


def test_send_with_a_timeout_returns_what_was_sent_by_the_deadline() -> None:
    a, b = socketpair()
    with a, b:
        a.settimeout(0.02)
        sent = a.send(BIG)
        assert 0 < sent < len(BIG)
        with pytest.raises(TimeoutError):
            a.send(BIG)
        assert read_exactly(b, sent) == BIG[:sent]


def test_a_timeout_is_for_the_whole_of_a_send_and_not_for_each_part() -> None:
    a, b = socketpair()
    with a, b:
        a.settimeout(0.1)
        sender = spawn(outcome, a.sendall, BIG * 10)
        while not sender.ended:  # a peer that takes 4 MB a second, and never stops
            b.recv(20_000)
            sleep(0.005)
        assert sender.wait() == ("TimeoutError", None)


def send_back(sock: GreenSocket) -> None:
    while part := sock.recv(65536):
        sock.sendall(part)


def test_interleaved_waits_in_both_directions_share_one_socket() -> None:
    a, b = socketpair()
    with a, b:
        reader = spawn(read_exactly, a, len(BIG))
        writer = spawn(a.sendall, BIG)
        echo = spawn(send_back, b)
        assert reader.wait() == BIG
        assert writer.wait() is None
        a.shutdown_write()
        echo.wait()


def test_makefile_gives_the_reader_that_is_asked_for() -> None:
    a, b = socketpair()
    with a, b:
        assert b.makefile("rb", reader=lambda sock: sock) is b
        with pytest.raises(ValueError, match="rb"):
            b.makefile("wb", reader=lambda sock: sock)
        b.close()
        assert b.fileno() == -1


def test_shutdown_write_is_no_error_when_the_peer_has_gone() -> None:
    with listen(("127.0.0.1", 0)) as listener, GreenSocket() as never_connected:
        never_connected.shutdown_write()
        with GreenSocket() as client:
            client.connect(listener.getsockname())
            client.shutdown_write()
            with listener.accept()[0] as accepted:
                assert accepted.recv(1) == b""


def test_abort_resets_the_connection_even_if_a_file_is_in_use() -> None:
    with listen(("127.0.0.1", 0)) as listener, GreenSocket() as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted.makefile("rb"):
            accepted.abort()
            assert accepted.fileno() == -1
            assert outcome(client.recv, 1)[0] == "ConnectionResetError"


def test_sendfile_some_sends_what_the_system_takes_at_once() -> None:
    a, b = socketpair()
    with a, b, temporary_file() as file:
        sent = a.sendfile_some(file.fileno(), 100, len(BIG))
        assert 0 < sent < len(BIG)
        assert read_exactly(b, sent) == BIG[100 : 100 + sent]
        assert a.sendfile_some(file.fileno(), len(BIG), 10) == 0
        a.setblocking(False)
        with pytest.raises(BlockingIOError):
            while a.sendfile_some(file.fileno(), 0, len(BIG)):
                pass


class NoSendfile(GreenSocket):
    """On a system that can't send files of its own accord."""

    __slots__ = ("number",)

    def sendfile_some(self, fd: int, offset: int, count: int) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "sent"), [(errno.EINVAL, 99), (errno.ENOSYS, 99), (errno.EIO, ("OSError", errno.EIO))]
)
def test_sendfile_reads_a_file_that_the_system_can_not_send_itself(number: int, sent: Any) -> None:
    a, b = socketpair()
    with NoSendfile(fileno=a.detach()) as sender, b, temporary_file() as file:
        sender.number = number
        assert outcome(sender.sendfile, file, 1, 99) == sent
        sender.close()
        assert read_all(b) == (BIG[1:100] if sent == 99 else b"")
        assert file.tell() == (100 if sent == 99 else 0)


def test_fromfd_keeps_no_copy_of_what_is_no_socket() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with open(os.devnull, "rb") as file, pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)):
        fromfd(file.fileno(), -1, -1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_connect_to_a_full_unix_backlog_waits_for_room(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listen(path, backlog=0) as listener:
        waiting = [GreenSocket(socket.AF_UNIX) for _ in range(5)]
        connecting = [spawn(sock.connect, path) for sock in waiting]
        let_run()
        with GreenSocket(socket.AF_UNIX) as hurried:
            hurried.settimeout(0.02)
            assert outcome(hurried.connect, path) == ("TimeoutError", None)
            assert hurried.connect_ex(path) == errno.EAGAIN
        for _ in waiting:
            listener.accept()[0].close()
        assert [thread.wait() for thread in connecting] == [None] * 5
        for sock in waiting:
            sock.close()


def test_a_connect_that_nobody_answers_times_out() -> None:
    # The second connection to a full backlog gets no answer to its first packet.
    with listen(("127.0.0.1", 0), backlog=0) as listener, GreenSocket() as first, GreenSocket() as second:
        first.connect(listener.getsockname())
        second.settimeout(0.02)
        assert outcome(second.connect, listener.getsockname()) == ("TimeoutError", None)
    with listen(("127.0.0.1", 0), backlog=0) as listener, GreenSocket() as first, GreenSocket() as second:
        first.connect(listener.getsockname())
        second.settimeout(0.02)
        assert second.connect_ex(listener.getsockname()) == errno.EAGAIN
