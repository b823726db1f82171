from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Iterator

import pytest

from greenserve.core.poller import BACKENDS, READ, WRITE, Backend, Poller, Source, make_backend
from greenserve.core.timers import Handle
from greenserve.errors import ClosedWhileWaiting, HubError

NAME = os.environ.get("GREENSERVE_SELECTOR") or next(iter(BACKENDS))


class CountingBackend:
    """Hands everything on, and remembers what it was asked for."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend
        self.calls: list[tuple[object, ...]] = []
        self.reported: list[tuple[int, int]] = []

    def update(self, fd: int, old: int, new: int) -> None:
        self.calls.append(("update", fd, new))
        self._backend.update(fd, old, new)

    def remove(self, fd: int) -> bool:
        self.calls.append(("remove", fd))
        return self._backend.remove(fd)

    def renew(self) -> None:
        self.calls.append(("renew",))
        self._backend.renew()

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        self.reported = self._backend.poll(timeout)
        return self.reported

    def close(self) -> None:
        self._backend.close()


@pytest.fixture
def backend() -> Iterator[CountingBackend]:
    backend = CountingBackend(make_backend(NAME))
    yield backend
    backend.close()


@pytest.fixture
def poller(backend: CountingBackend) -> Poller:
    return Poller(backend)


def wait(poller: Poller, source: Source, direction: int) -> Handle:
    """Begin to wait, as a green thread does."""
    handle = Handle(None)
    (source.readers if direction == READ else source.writers).append(handle)
    if not source.mask & direction:
        assert poller.want(source, direction)
    return handle


def poll(poller: Poller) -> list[Handle]:
    ready: deque[Handle] = deque()
    poller.poll(0, ready)
    return list(ready)


def assert_quiet(poller: Poller, backend: CountingBackend) -> None:
    """Fail if a wait would be over at once although nobody is woken: that is how a hub spins."""
    for _ in range(3):
        assert poll(poller) == []
    assert backend.reported == []


def test_several_readers_are_served_in_turn_one_for_each_poll(poller: Poller, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = poller.source(reader)
    waiting = [wait(poller, source, READ) for _ in range(3)]
    assert poll(poller) == []
    os.write(writer, b"x")
    assert [poll(poller) for _ in range(3)] == [[handle] for handle in waiting]


def test_several_writers_are_served_in_turn_one_for_each_poll(poller: Poller, pipe: tuple[int, int]) -> None:
    source = poller.source(pipe[1])
    waiting = [wait(poller, source, WRITE) for _ in range(3)]
    assert [poll(poller) for _ in range(3)] == [[handle] for handle in waiting]


def test_reading_and_writing_the_same_fd_are_waited_for_apart(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = poller.source(ours.fileno())
        reader, writer = wait(poller, source, READ), wait(poller, source, WRITE)
        assert poll(poller) == [writer]
        theirs.send(b"x")
        assert poll(poller) == [reader]
        poller.forget(source)


def test_the_steady_state_asks_the_system_for_nothing(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    source = poller.source(reader)
    for _ in range(10):
        handle = wait(poller, source, READ)
        assert poll(poller) == []
        os.write(writer, b"x")
        assert poll(poller) == [handle]
        os.read(reader, 1)
    assert backend.calls == [("update", reader, READ)]


def test_bytes_that_nobody_waits_for_are_reported_once(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    source = poller.source(reader)
    handle = wait(poller, source, READ)
    os.write(writer, b"xx")
    assert poll(poller) == [handle]
    assert poll(poller) == []
    assert_quiet(poller, backend)
    assert poll(poller) == []
    handle = wait(poller, source, READ)
    assert poll(poller) == [handle]


def test_a_reader_that_nobody_waits_for_leaves_the_writer_alone(poller: Poller, backend: CountingBackend) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        while True:  # so that nothing can be sent
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        source = poller.source(ours.fileno())
        reader, writer = wait(poller, source, READ), wait(poller, source, WRITE)
        theirs.send(b"x")
        assert poll(poller) == [reader]
        assert poll(poller) == []
        assert_quiet(poller, backend)
        theirs.settimeout(5)
        while poll(poller) != [writer]:
            theirs.recv(1 << 20)
        poller.forget(source)


def test_a_hang_up_wakes_readers_and_never_spins(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    source = poller.source(reader)
    waiting = [wait(poller, source, READ) for _ in range(2)]
    os.close(writer)
    assert [poll(poller) for _ in range(2)] == [[handle] for handle in waiting]
    poll(poller)
    assert_quiet(poller, backend)


def test_an_error_wakes_writers_and_never_spins(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    source = poller.source(writer)
    handle = wait(poller, source, WRITE)
    os.close(reader)
    assert poll(poller) == [handle]
    poll(poller)
    assert_quiet(poller, backend)


def test_a_connection_that_is_reset_wakes_both_directions_and_never_spins(
    poller: Poller, backend: CountingBackend
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        ours.setblocking(False)
        while True:
            try:
                ours.send(b"x" * 65536)
            except BlockingIOError:
                break
        source = poller.source(ours.fileno())
        reader, writer = wait(poller, source, READ), wait(poller, source, WRITE)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        assert set(poll(poller)) == {reader, writer}
        poll(poller)
        assert_quiet(poller, backend)
        poller.forget(source)


def test_a_number_that_is_used_again_after_close_is_a_new_fd(poller: Poller, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    source = poller.source(reader)
    wait(poller, source, READ)
    assert source.close() is True
    assert source.close() is False
    other_reader, other_writer = os.pipe()
    os.dup2(other_reader, reader)  # closes the first one
    try:
        again = poller.source(reader)
        assert again is not source
        handle = wait(poller, again, READ)
        os.write(other_writer, b"x")
        assert poll(poller) == [handle]
        poller.forget(again)
    finally:
        os.close(other_reader)
        os.close(other_writer)
        os.close(reader)


def test_a_number_that_was_closed_without_a_word_works_for_its_next_owner(
    poller: Poller, pipe: tuple[int, int]
) -> None:
    reader, _ = pipe
    stuck = wait(poller, poller.source(reader), READ)
    other_reader, other_writer = os.pipe()
    os.dup2(other_reader, reader)
    os.close(other_reader)
    try:
        os.write(other_writer, b"x")
        handle = wait(poller, poller.source(reader), READ)
        assert poll(poller) == [stuck]  # it will see an error, or bytes of somebody else's: its own fault
        assert poll(poller) == [handle]
    finally:
        os.close(other_writer)
        os.close(reader)


def test_asking_for_a_source_again_keeps_those_who_wait_on_it(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        readers = [wait(poller, poller.source(ours.fileno()), READ) for _ in range(2)]
        writer = wait(poller, poller.source(ours.fileno()), WRITE)
        source = poller.source(ours.fileno())
        theirs.send(b"x")
        first = poll(poller)
        assert set(first) == {readers[0], writer}
        assert poll(poller) == [readers[1]]
        poll(poller)
        assert_quiet(poller, backend)
        poller.forget(source)


def test_asking_for_a_source_again_keeps_those_who_wait_for_more_than_a_hang_up_brings(poller: Poller) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        readers = [wait(poller, poller.source(ours.fileno()), READ) for _ in range(2)]
        source = poller.source(ours.fileno())
        theirs.close()
        assert [poll(poller) for _ in range(2)] == [[reader] for reader in readers]
        poller.forget(source)


def test_asking_for_a_source_whose_bytes_nobody_waits_for_does_not_spin(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    handle = wait(poller, poller.source(reader), READ)
    os.write(writer, b"xx")
    assert poll(poller) == [handle]
    poller.source(reader)
    poll(poller)
    assert_quiet(poller, backend)


@pytest.mark.parametrize("next_file", [False, True], ids=["closed", "closed and used again"])
def test_a_closed_fd_whose_file_lives_on_elsewhere_never_spins(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int], next_file: bool
) -> None:
    reader, writer = pipe
    ours, theirs = socket.socketpair()
    copy = os.dup(reader)
    with ours, theirs, tempfile.TemporaryFile() as file:
        handle = wait(poller, poller.source(reader), READ)
        other = wait(poller, poller.source(ours.fileno()), READ)
        os.close(reader)  # without a word
        if next_file:
            os.dup2(file.fileno(), reader)
        os.write(writer, b"x")
        for _ in range(4):
            woken = poll(poller)
            assert woken in ([], [handle])  # who waited is told, where the system tells us
        assert_quiet(poller, backend)
        theirs.send(b"x")
        assert poll(poller) == [other]
        poller.forget(poller.source(ours.fileno()))
        if next_file:
            os.close(reader)
    os.close(copy)


def test_an_fd_taken_out_by_another_os_thread_a_moment_ago_costs_no_new_start(
    poller: Poller, backend: CountingBackend, pipe: tuple[int, int]
) -> None:
    reader, writer = pipe
    wait(poller, poller.source(reader), READ)
    os.write(writer, b"x")
    original = backend.poll

    def poll_and_be_overtaken(timeout: float | None) -> list[tuple[int, int]]:
        reported = original(timeout)
        for fd, _ in reported:
            poller.sources[fd].close()
        return reported

    backend.poll = poll_and_be_overtaken  # type: ignore[method-assign]  # between the system's answer and ours
    assert poll(poller) == []
    assert ("renew",) not in backend.calls
    assert backend.poll(0) == []


def test_a_closed_source_takes_no_more_waits(poller: Poller, pipe: tuple[int, int]) -> None:
    source = poller.source(pipe[0])
    assert source.close() is False  # nobody waits
    with pytest.raises(ClosedWhileWaiting):
        poller.want(source, READ)
    assert poller.sources == {}


def test_waiting_on_a_closed_fd_fails_or_wakes_at_once(poller: Poller, pipe: tuple[int, int]) -> None:
    reader, _ = pipe
    os.close(reader)
    source = poller.source(reader)
    handle = Handle(None)
    source.readers.append(handle)
    try:
        poller.want(source, READ)
    except OSError as exc:
        assert exc.errno == errno.EBADF  # noqa: PT017 - poll alone takes it, and reports it
    else:
        assert poll(poller) == [handle]


def test_a_regular_file_is_always_ready(poller: Poller) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
        file.seek(0)
        source = poller.source(file.fileno())
        handle = Handle(None)
        source.readers.append(handle)
        assert not poller.want(source, READ) or poll(poller) == [handle]
        poller.forget(source)


def test_who_waits_is_never_in_no_queue_at_all(poller: Poller, pipe: tuple[int, int]) -> None:
    """A signal handler may raise after any call: the waiter is in its new place before it leaves the old one."""

    class Interrupted(Exception):
        pass

    class InterruptedDeque(deque[Handle]):
        interrupted_before = True

        def append(self, handle: Handle) -> None:
            if not self.interrupted_before:
                super().append(handle)
            raise Interrupted

    reader, writer = pipe
    source = poller.source(reader)
    handle = wait(poller, source, READ)
    os.write(writer, b"x")
    ready = InterruptedDeque()
    for before in (True, False):
        ready.interrupted_before = before
        with pytest.raises(Interrupted):
            poller.poll(0, ready)
        assert handle in ready or handle in source.readers


def test_is_waiting_asks_for_waits_beside_one(poller: Poller, pipe: tuple[int, int]) -> None:
    mine, other = poller.source(pipe[0]), poller.source(pipe[1])
    mine.readers.append(Handle(None))
    assert not poller.is_waiting(besides=mine)
    assert poller.is_waiting(besides=other)


def test_is_waiting_bears_sources_that_other_os_threads_close(poller: Poller) -> None:
    pipes = [os.pipe() for _ in range(20)]
    mine = poller.source(pipes[0][0])
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for fd in [fd for pair in pipes[1:] for fd in pair]:
                poller.source(fd).close()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(2000):
            poller.is_waiting(besides=mine)
    finally:
        stop.set()
        thread.join()
        for fd in [fd for pair in pipes for fd in pair]:
            os.close(fd)


def test_closing_the_poller_closes_its_sources(pipe: tuple[int, int]) -> None:
    poller = Poller(make_backend(NAME))
    source = poller.source(pipe[0])
    wait(poller, source, READ)
    poller.close()
    assert source.closed
    assert source.close() is False
    assert poller.sources == {}


@pytest.mark.parametrize("fd", [-1, -100])
def test_a_negative_number_is_no_fd(poller: Poller, fd: int) -> None:
    with pytest.raises(ValueError, match=f"not a file descriptor: {fd}"):
        poller.source(fd)


def test_an_unknown_selector_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(HubError, match=r"no selector 'best' here: choose one of .*select"):
        make_backend("best")


def test_the_best_selector_is_the_first() -> None:
    backend = make_backend()
    assert backend.name == next(iter(BACKENDS))
    backend.close()


@pytest.mark.skipif(NAME != "select", reason="select's own limits")
def test_select_says_that_an_fd_is_too_large_for_it(poller: Poller, pipe: tuple[int, int]) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1500:
        pytest.skip("no fd can be so large here")
    large = fcntl.fcntl(pipe[0], fcntl.F_DUPFD_CLOEXEC, 1400)
    try:
        with pytest.raises(HubError, match=f"fd {large}, which is too large"):
            poller.want(poller.source(large), READ)
    finally:
        os.close(large)


@pytest.mark.skipif(NAME != "select", reason="select fails as a whole")
def test_select_tells_who_waits_on_a_closed_fd_and_spares_the_others(poller: Poller, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    other_reader, other_writer = os.pipe()
    closed = wait(poller, poller.source(other_reader), READ)
    handle = wait(poller, poller.source(reader), READ)
    os.close(other_reader)
    os.close(other_writer)
    os.write(writer, b"x")
    assert poll(poller) == [closed]
    assert poll(poller) == [handle]
