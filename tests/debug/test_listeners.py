from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from greenserve import Timeout, get_hub, kill, sleep, spawn
from greenserve.debug import format_hub_listeners, format_hub_timers, hub_prevent_multiple_readers
from greenserve.errors import HubError
from greenserve.net import GreenSocket, socketpair
from tests.sync.threads import HubThread, until


@pytest.fixture
def pair() -> Iterator[tuple[GreenSocket, GreenSocket]]:
    ours, theirs = socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def only_one() -> Iterator[None]:
    hub_prevent_multiple_readers(True)
    yield
    hub_prevent_multiple_readers(False)


def read(sock: GreenSocket) -> bytes:
    return sock.recv(1)


def test_by_default_several_readers_are_served_in_turn(pair: tuple[GreenSocket, GreenSocket]) -> None:
    ours, theirs = pair
    readers = [spawn(read, ours) for _ in range(3)]
    sleep(0)
    theirs.send(b"abc")
    assert [reader.wait() for reader in readers] == [b"a", b"b", b"c"]


@pytest.mark.usefixtures("only_one")
def test_a_second_reader_fails_with_both_stacks_and_the_first_goes_on(pair: tuple[GreenSocket, GreenSocket]) -> None:
    ours, theirs = pair
    first = spawn(read, ours)
    sleep(0)
    with pytest.raises(HubError, match="two green threads wait for the same direction of one fd") as caught:
        ours.recv(1)
    line = read.__code__.co_firstlineno + 1
    assert f'  File "{__file__}", line {line}, in read\n    return sock.recv(1)' in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    theirs.send(b"ab")
    assert first.wait() == b"a"
    assert ours.recv(1) == b"b"


@pytest.mark.usefixtures("only_one")
def test_a_second_writer_fails_and_a_reader_beside_a_writer_does_not(pair: tuple[GreenSocket, GreenSocket]) -> None:
    ours, _ = pair
    writer = spawn(ours.sendall, bytes(10_000_000))
    reader = spawn(read, ours)
    sleep(0)
    with pytest.raises(HubError):
        ours.sendall(bytes(10_000_000))
    kill(writer)
    kill(reader)


@pytest.mark.usefixtures("only_one")
def test_one_after_the_other_may_wait_even_after_a_timeout(pair: tuple[GreenSocket, GreenSocket]) -> None:
    ours, theirs = pair
    for _ in range(3):
        with Timeout(0.001, False):
            ours.recv(1)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_it_holds_for_sockets_that_have_waited_before_and_can_be_switched_off(
    pair: tuple[GreenSocket, GreenSocket],
) -> None:
    ours, theirs = pair
    with Timeout(0.001, False):
        ours.recv(1)
    hub_prevent_multiple_readers()
    reader = spawn(read, ours)
    sleep(0)
    with pytest.raises(HubError):
        ours.recv(1)
    kill(reader)
    hub_prevent_multiple_readers(False)
    readers = [spawn(read, ours) for _ in range(2)]
    sleep(0)
    theirs.send(b"ab")
    assert [each.wait() for each in readers] == [b"a", b"b"]


def test_it_holds_in_every_os_thread(pair: tuple[GreenSocket, GreenSocket]) -> None:
    ours, _ = pair
    steps: list[str] = []

    def work() -> type[BaseException] | None:
        with Timeout(0.001, False):
            ours.recv(1)
        steps.append("waited")
        until(lambda: "switched" in steps)
        reader = spawn(read, ours)
        sleep(0)
        try:
            ours.recv(1)
        except HubError as exc:
            return type(exc)
        finally:
            kill(reader)
        return None

    thread = HubThread(work)
    until(lambda: steps)
    hub_prevent_multiple_readers(True)
    steps.append("switched")
    try:
        assert thread.wait() is HubError
    finally:
        hub_prevent_multiple_readers(False)


def read_for_a_minute(sock: GreenSocket) -> None:
    sock.settimeout(60)
    sock.recv(1)


def test_listeners_are_listed_with_where_they_wait(pair: tuple[GreenSocket, GreenSocket]) -> None:
    reader = spawn(read, pair[0])
    sleep(0)
    (line,) = [line for line in format_hub_listeners().splitlines() if line.startswith(f"read fd {pair[0].fileno()}:")]
    kill(reader)
    assert line.startswith(f"read fd {pair[0].fileno()}: <GreenThread ")
    assert "net/parking.py:" in line


def test_timers_are_listed_with_what_they_are_for(pair: tuple[GreenSocket, GreenSocket]) -> None:
    later = get_hub().call_later(30, print)
    reader = spawn(read_for_a_minute, pair[0])
    sleep(0)
    lines = format_hub_timers().splitlines()
    kill(reader)
    later.cancel()
    (first,) = [number for number, line in enumerate(lines) if "built-in function print" in line]
    (second,) = [number for number, line in enumerate(lines) if "net/parking.py:" in line]
    assert first < second
    assert re.match(r"in (29|30)[.][0-9]{3} s: ", lines[first])
    assert re.match(r"in (59|60)[.][0-9]{3} s: <GreenThread ", lines[second])
