"""The listening socket that workers share: what one of them does to it, the others feel."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

import greenserve
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
