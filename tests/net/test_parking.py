from __future__ import annotations

import errno
import gc
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from greenserve import GreenletExit, Timeout, get_hub, sleep, spawn, use_hub
from greenserve.core.hub import has_hub
from greenserve.core.poller import BACKENDS, make_backend
from greenserve.errors import ClosedWhileWaiting
from greenserve.net import GreenSocket, listen, socketpair
from tests.net.worlds import read_all
from tests.sync.threads import (
    HubThread,
    OSThread,
    frequent_thread_switches,
    in_any_thread,
    let_run,
    run_in_new_process,
    until,
)


@contextmanager
def pair() -> Iterator[tuple[GreenSocket, GreenSocket]]:
    a, b = socketpair()
    with a, b:
        yield a, b


def fill(sock: GreenSocket) -> None:
    """Send until no more fits."""
    mode = sock.gettimeout()
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while sock.send(bytes(65536)):
            pass
    sock.settimeout(mode)


def count_waiters(sock: GreenSocket) -> int:
    """How many green threads wait on it, in all hubs."""
    places = [sock._source, *(sock._others or {}).values()]
    return sum(len(place.readers) + len(place.writers) for place in places if place is not None)


def is_waiting(sock: GreenSocket) -> bool:
    """Whether somebody waits on it, in any hub."""
    return count_waiters(sock) > 0


# Waiting -------------------------------------------------------------------------------------------------------------


def test_wait_readable_tells_data_from_a_timeout() -> None:
    with pair() as (a, b):
        assert b.wait_readable(0.001) is False
        assert b.wait_readable(0) is False
        waiter = spawn(b.wait_readable)
        a.send(b"x")
        assert waiter.wait() is True
        assert b.wait_readable(0) is True
        a.close()
        b.recv(1)
        assert b.wait_readable() is True  # the end of the stream


def test_wait_writable_tells_room_from_a_timeout() -> None:
    with pair() as (a, b):
        assert a.wait_writable() is True
        fill(a)
        assert a.wait_writable(0.001) is False
        waiter = spawn(a.wait_writable)
        let_run()
        assert not waiter.ended
        b.recv(10_000_000)
        while b.wait_readable(0):
            b.recv(10_000_000)
        assert waiter.wait() is True


def test_several_acceptors_are_served_in_turn() -> None:
    with listen(("127.0.0.1", 0)) as listener:
        served: list[int] = []

        def accept(number: int) -> None:
            for _ in range(2):
                listener.accept()[0].close()
                served.append(number)

        acceptors = [spawn(accept, number) for number in range(3)]
        let_run()
        for count in range(6):
            with socket.create_connection(listener.getsockname()):
                until(lambda count=count: len(served) > count)
        for acceptor in acceptors:
            acceptor.wait()
        assert served == [0, 1, 2, 0, 1, 2]


def test_a_timeout_and_a_kill_end_a_wait_and_leave_the_socket_usable() -> None:
    with pair() as (a, b):
        with pytest.raises(Timeout), Timeout(0.001):
            b.recv(1)
        reader = spawn(b.recv, 1)
        let_run()
        reader.kill()
        with pytest.raises(GreenletExit):
            reader.wait()
        assert not is_waiting(b)
        a.send(b"x")
        assert b.recv(9) == b"x"


def test_an_idle_connection_costs_no_change_of_interest_between_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = []

    class Counting:
        """A backend that tells of each change of interest, which is a system call."""

        name = "counting"

        def __init__(self) -> None:
            self._backend = make_backend()
            self.poll = self._backend.poll
            self.remove = self._backend.remove
            self.renew = self._backend.renew
            self.close = self._backend.close

        def update(self, fd: int, old: int, new: int) -> None:
            changes.append((fd, old, new))
            self._backend.update(fd, old, new)

    def talk() -> tuple[int, int]:
        use_hub("counting")
        with pair() as (a, b):
            echo = spawn(lambda: [b.send(b.recv(10)) for _ in range(100)])
            a.send(b"first")
            a.recv(10)
            before = len(changes)
            for _ in range(99):
                a.send(b"again")
                a.recv(10)
            echo.wait()
            return before, len(changes)

    monkeypatch.setitem(BACKENDS, "counting", Counting)
    before, after = OSThread(talk).wait()
    assert before == after > 0


# Closing -------------------------------------------------------------------------------------------------------------


def send_when_full(sock: GreenSocket) -> Any:
    fill(sock)
    return sock.send(b"x")


WAITS: list[Callable[[GreenSocket], Any]] = [
    lambda sock: sock.recv(1),
    lambda sock: sock.recv_into(bytearray(1)),
    lambda sock: sock.recvmsg(1),
    lambda sock: sock.wait_readable(),
    lambda sock: sock.makefile("rb", 0).read(1),
    send_when_full,
]


@pytest.mark.parametrize("end", [GreenSocket.close, GreenSocket.detach, GreenSocket.abort])
@pytest.mark.parametrize("wait", WAITS)
@in_any_thread
def test_closing_wakes_whoever_waits_with_an_error(start: Any, wait: Any, end: Any) -> None:
    a, b = socketpair()
    with a, b:
        waiter = start(lambda: wait(a))
        until(lambda: is_waiting(a))
        fd = a.fileno()
        end(a)
        if end is GreenSocket.detach:
            os.close(fd)
        elif wait is WAITS[4]:
            a.abort()  # the file that makefile() made keeps the socket open
        with pytest.raises(ClosedWhileWaiting) as caught:
            waiter.wait()
        assert caught.value.errno == errno.EBADF
        assert isinstance(caught.value, OSError)


@in_any_thread
def test_closing_a_listener_wakes_all_who_accept(start: Any) -> None:
    listener = listen(("127.0.0.1", 0))
    acceptors = [start(listener.accept) for _ in range(3)]
    until(lambda: count_waiters(listener) == 3)
    listener.close()
    for acceptor in acceptors:
        with pytest.raises(ClosedWhileWaiting):
            acceptor.wait()


def test_a_socket_that_was_closed_can_not_be_waited_on() -> None:
    used, never_used = socketpair()
    used.wait_readable(0)
    for sock in (used, never_used):
        sock.close()
        for timeout in (None, 1, 0):
            with pytest.raises(OSError, match=r"closed|Bad file descriptor") as caught:
                sock.wait_readable(timeout)
            assert caught.value.errno == errno.EBADF


def test_closing_races_with_the_beginning_of_a_wait_in_another_thread() -> None:
    with frequent_thread_switches():
        for round_number in range(150):
            a, b = socketpair()
            with a, b:
                start = HubThread if round_number % 2 else OSThread
                waiter = start(lambda a=a: a.recv(1))
                for _ in range(round_number % 7):
                    os.sched_yield()
                a.close()
                with pytest.raises(OSError, match=r"clos|descriptor"):
                    waiter.wait()


def test_sockets_meet_the_hubs_of_many_threads_at_once() -> None:
    with frequent_thread_switches():
        for _ in range(15):
            a, b = socketpair()
            with a, b:
                readers = [OSThread(lambda b=b: b.recv(1)) for _ in range(6)]
                until(lambda b=b: count_waiters(b) == 6)
                b.close()
                for reader in readers:
                    with pytest.raises(ClosedWhileWaiting):
                        reader.wait()


def test_a_socket_forgets_the_hubs_of_threads_that_have_ended() -> None:
    with pair() as (_, b):
        b.wait_readable(0)
        for _ in range(20):
            OSThread(lambda: b.wait_readable(0)).wait()
        assert len(b._others or {}) <= 2


# Numbers that are used again -----------------------------------------------------------------------------------------


def test_the_number_of_a_socket_that_was_closed_by_its_number_serves_the_next_one() -> None:
    a, b = socketpair()
    b.wait_readable(0)
    fd = b.fileno()
    os.close(fd)
    with a, pair() as (c, d):
        assert fd in (c.fileno(), d.fileno())
        waiter = spawn(d.recv, 9)
        let_run()
        c.send(b"hello")
        assert waiter.wait() == b"hello"
        b_number = b.detach()
        assert b_number == fd


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_the_number_of_a_socket_that_was_never_closed_serves_the_next_one() -> None:
    numbers = set()
    for _ in range(20):
        a, b = socketpair()
        b.wait_readable(0)
        waiter = spawn(b.recv, 9)
        let_run()
        a.send(b"hello")
        assert waiter.wait() == b"hello"
        numbers.add(b.fileno())
        del a, b, waiter
        gc.collect()
    assert len(numbers) < 20


@pytest.mark.parametrize("set_mode", [lambda sock: sock.setblocking(True), lambda sock: sock.settimeout(None)])
def test_the_fd_of_a_socket_that_was_made_blocking_blocks_however_it_came(set_mode: Callable[[Any], None]) -> None:
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, GreenSocket(fileno=ours.detach()) as sock:
        set_mode(sock)
        fd = sock.detach()
        assert os.get_blocking(fd)
        os.close(fd)


def test_a_second_object_over_the_same_fd_comes_and_goes() -> None:
    with pair() as (a, b):
        b.wait_readable(0.001)
        for _ in range(2):
            second = GreenSocket(fileno=b.fileno())
            second.wait_readable(0.001)
            second.detach()
            waiters = [spawn(b.recv, 1), OSThread(lambda: b.recv(1))]
            until(lambda: count_waiters(b) == 2)
            a.send(b"x")
            a.send(b"y")
            assert sorted(waiter.wait() for waiter in waiters) == [b"x", b"y"]


def test_a_native_thread_that_never_has_to_wait_gets_no_hub() -> None:
    with pair() as (a, b):

        def talk() -> bool:
            for _ in range(100):
                a.send(b"x")
                b.recv(1)
            b.interrupt(KeyError())
            return has_hub()

        assert OSThread(talk).wait() is False


def test_ten_thousand_connections_leave_nothing_behind() -> None:
    with listen(("127.0.0.1", 0)) as listener:

        def connect_and_leave(count: int) -> None:
            for _ in range(count):
                with GreenSocket() as client:
                    client.connect(listener.getsockname())
                    accepted, _ = listener.accept()
                    client.send(b"x")
                    with accepted.makefile("rb", reader=lambda sock: sock) as sock:
                        sock.recv(1)
                    client.abort()  # no port is to stay in TIME_WAIT

        connect_and_leave(100)
        gc.collect()
        objects, fds = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
        connect_and_leave(9_900)
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == fds
        assert len(gc.get_objects()) - objects < 200


# Interrupting --------------------------------------------------------------------------------------------------------


def test_interrupt_raises_in_those_who_wait_in_this_thread() -> None:
    with pair() as (a, b):
        readers = [spawn(b.recv, 1) for _ in range(2)]
        elsewhere = OSThread(lambda: b.recv(1))
        until(lambda: count_waiters(b) == 3)
        b.interrupt(KeyError("deadline"))
        for reader in readers:
            with pytest.raises(KeyError, match="deadline"):
                reader.wait()
        a.send(b"x")
        assert elsewhere.wait() == b"x"


def test_interrupt_does_nothing_when_nobody_waits() -> None:
    with pair() as (a, b):
        b.interrupt(KeyError())
        b.wait_readable(0)
        b.interrupt(KeyError())
        a.send(b"x")
        assert b.recv(1) == b"x"


# Fairness ------------------------------------------------------------------------------------------------------------


def test_a_stream_that_never_ends_keeps_nobody_from_running() -> None:
    with pair() as (a, b):
        ticks = []
        running = True

        def tick() -> None:
            while running:
                ticks.append(get_hub().now)
                sleep(0.001)

        def flood() -> None:
            """The other end always has something to send, and sends it before the receiver asks."""
            while running:
                a.setblocking(False)
                try:
                    a.send(bytes(1024))
                except BlockingIOError:
                    pass
                b.recv(1024)

        ticker = spawn(tick)
        flooder = spawn(flood)
        until(lambda: len(ticks) >= 20)
        running = False
        ticker.wait()
        flooder.wait()


def test_a_green_thread_that_is_killed_as_it_gives_way_loses_nothing() -> None:
    with pair() as (a, b):
        data = bytes(range(256)) * 4
        a.send(data)
        received: list[bytes] = []

        def read() -> None:
            while len(received) < len(data):
                get_hub().now -= 1.0  # as if the hub had not had its turn for long
                received.append(b.recv(1))

        reader = spawn(read)
        let_run(3)
        reader.kill()
        assert 0 < len(received) < len(data)
        assert b"".join(received) + b.recv(len(data)) == data


def test_a_callback_of_the_hub_may_use_a_socket_that_does_not_have_to_wait() -> None:
    with pair() as (a, b):
        a.send(bytes(1000))
        received: list[bytes] = []

        def callback() -> None:
            get_hub().now -= 1.0
            received.extend(b.recv(1) for _ in range(1000))

        get_hub().call_soon(callback)
        let_run()
        assert len(received) == 1000


# Selectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", list(BACKENDS))
def test_sockets_work_on_every_selector(selector: str) -> None:
    def work() -> list[Any]:
        use_hub(selector)
        seen: list[Any] = [get_hub().poller.backend.name]
        with listen(("127.0.0.1", 0)) as listener, GreenSocket() as client:
            acceptor = spawn(listener.accept)
            client.connect(listener.getsockname())
            server, _ = acceptor.wait()
            with server:
                reader = spawn(read_all, server)
                seen.append(client.send(bytes(3_000_000)))
                client.shutdown_write()
                seen.append(len(reader.wait()))
                client.settimeout(0.001)
                with pytest.raises(TimeoutError):
                    client.recv(1)
                client.settimeout(None)
                readers = [spawn(client.recv, 1) for _ in range(3)]
                let_run()
                server.send(b"ab")
                seen += [readers[0].wait(), readers[1].wait()]
                client.close()
                with pytest.raises(ClosedWhileWaiting):
                    readers[2].wait()
        return seen

    assert OSThread(work).wait() == [selector, 3_000_000, 3_000_000, b"a", b"b"]


# fork ----------------------------------------------------------------------------------------------------------------


def test_a_forked_child_waits_on_its_copy_in_a_hub_of_its_own() -> None:
    script = """
import os
from greenserve import spawn, sleep
from greenserve.net import socketpair
a, b = socketpair()
c, d = socketpair()
waiter = spawn(b.recv, 100)
sleep(0)
child = os.fork()
if not child:
    d.recv(1)                   # parks in the child's hub
    b.close()                   # wakes nobody in the parent
    a.send(b"from the child")
    os._exit(0)
c.send(b"x")
print(waiter.wait().decode(), os.waitpid(child, 0)[1])
"""
    assert run_in_new_process(script) == "from the child 0\n"
