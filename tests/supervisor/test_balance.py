"""The listening socket that workers share: what one of them does to it, the others feel, and who has how many."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import greenserve
from greenserve import Event
from greenserve.net.sockets import GreenSocket
from greenserve.supervisor import balance
from greenserve.supervisor.balance import SharedListener, Shares
from tests.supervisor.running import Clients, running


def test_a_worker_that_takes_its_listener_never_makes_the_shared_file_blocking() -> None:
    shares = Shares()
    with greenserve.listen(("127.0.0.1", 0)) as others:
        seen: list[bool] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                seen.append(os.get_blocking(others.fileno()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(3000):
                mine = greenserve.GreenSocket(fileno=os.dup(others.fileno()))
                mine.settimeout(None)  # as what `listen` returns has it, which a fork then copies
                SharedListener.take(mine, shares, 0).close()
        finally:
            stop.set()
            watcher.join()
        assert seen.count(True) == 0
        assert len(seen) > 100, "nobody looked"


def test_a_listener_that_was_taken_is_open_once() -> None:
    with greenserve.listen(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with SharedListener.take(listener, Shares(), 0) as shared:
            assert listener.fileno() == -1
            socket.create_connection(address).close()
            shared.accept()[0].close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


@pytest.mark.system
@pytest.mark.timeout(120)
def test_many_workers_start_reload_and_stop_while_clients_connect(tmp_path: Path) -> None:
    """Each worker that begins does so while all the others accept on the same socket."""
    with running(tmp_path, "shop:app", "--workers", "10") as master:
        with Clients(master.port, 6) as clients:
            for _ in range(2):
                before = master.send(signal.SIGHUP)
                master.err.wait_for("the reload is done: 10 new workers serve", after=before)
                master.err.wait_for("is gone", 10, before)
                clients.wait_for_answers(20)
        assert clients.failures == []
        assert master.stop() == 0
        assert "has not answered" not in master.err.text
        assert "does not end" not in master.err.text


def test_who_has_clearly_more_connections_than_another_one_is_ahead() -> None:
    shares = Shares()
    assert not shares.is_ahead(1, 1000), "there is nobody else"
    shares.enter(0)
    shares.enter(1)
    shares.show(0, 10)
    shares.show(1, 40)
    assert not shares.is_ahead(1, 13)
    assert shares.is_ahead(1, 14)
    shares.withdraw(0)
    assert not shares.is_ahead(1, 47)
    assert shares.is_ahead(1, 48)
    shares.withdraw(1)
    assert not shares.is_ahead(1, 1000)


def test_the_place_of_a_worker_is_its_replacements_as_soon_as_that_is_there() -> None:
    shares = Shares()
    shares.enter(0)
    assert shares.is_present(0)
    pid = os.fork()
    if pid == 0:
        shares.enter(0)
        shares.show(0, 7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    shares.show(0, 100)  # by the old one, which still has some
    assert not shares.is_ahead(1, 9)
    assert shares.is_ahead(1, 10)
    shares.leave(0)
    assert shares.is_present(0)
    shares.enter(0)
    shares.leave(0)
    assert not shares.is_present(0)


def test_a_worker_beyond_the_last_place_takes_what_comes() -> None:
    shares = Shares()
    shares.enter(5000)
    shares.show(5000, 1)
    shares.leave(5000)
    shares.welcome(5000)
    shares.age(5000)
    shares.withdraw(5000)
    assert not shares.is_ahead(5000, 1000)


def test_clients_that_will_come_back_count_for_a_while_as_connections_do() -> None:
    shares = Shares()
    for number in range(2):
        shares.enter(number)
    for _ in range(3):
        shares.welcome(0)
    assert shares.is_ahead(0, 0)
    assert not shares.is_ahead(1, 2)
    shares.enter(0)  # its replacement has the same clients
    assert shares.is_ahead(0, 0)
    shares.welcome(1)
    assert not shares.is_ahead(0, 0)
    for _ in range(10_000):
        shares.welcome(0)
    seen = 0
    while shares.is_ahead(0, 0):
        shares.age(0)
        seen += 1
    assert 200 < seen < 500


CLIENTS = 100


@contextmanager
def listener_and_clients() -> Iterator[GreenSocket]:
    """A listening socket, and clients that wait to be accepted."""
    with greenserve.listen(("127.0.0.1", 0), backlog=CLIENTS) as listener, ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        yield listener


def accept_all(workers: int) -> list[int]:
    """Let so many of two workers accept all clients, and keep them. Return which of the two has accepted each."""
    accepted: list[int] = []
    every = Event[None]()
    shares = Shares()
    shares.enter(0)
    shares.enter(1)

    def accept(listener: GreenSocket, number: int) -> None:
        with ExitStack() as stack:
            shared = stack.enter_context(SharedListener(os.dup(listener.fileno()), shares, number))
            shared.count = lambda: accepted.count(number)
            while len(accepted) < CLIENTS:
                stack.enter_context(shared.accept()[0])
                accepted.append(number)
            every.send()
            Event[None]().wait()

    with listener_and_clients() as listener:
        threads = [greenserve.spawn(accept, listener, number) for number in range(workers)]
        with greenserve.Timeout(10):
            every.wait()
        for thread in threads:
            thread.kill()
    return accepted


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long whoever is ahead wanted to wait, each time; it only lets the others run."""
    seconds: list[float] = []

    def sleep(wanted: float) -> None:
        seconds.append(wanted)
        greenserve.sleep(0)

    monkeypatch.setattr(balance, "sleep", sleep)
    return seconds


def test_who_is_ahead_waits_for_one_that_takes_connections_too(pauses: list[float]) -> None:
    assert 40 <= accept_all(workers=2).count(0) <= 60
    assert pauses


def test_for_one_that_takes_none_the_other_waits_less_and_less(pauses: list[float]) -> None:
    assert accept_all(workers=1) == [0] * CLIENTS
    # 3 before it is ahead; and then, after five pauses each, 1 and 8, 1 and 16, 1 and 32, 1 and 64.
    assert len(pauses) == 4 * 5
