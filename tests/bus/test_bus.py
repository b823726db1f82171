"""The bus, with its members in one hub, in other OS threads and in other processes."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

import greenserve
from greenserve._bus.bus import Bus, Sender
from greenserve._bus.frames import FrameReader, encode_frame
from greenserve._bus.members import Members
from greenserve._bus.peers import MAX_QUEUED, Peer
from greenserve.net.sockets import GreenSocket
from greenserve.testing import assert_no_switch, wait_until_parked

DEADLINE = 20.0
MEBIBYTE = 1 << 20


class Member:
    """A membership, and what it has heard."""

    def __init__(self, folder: str, channel: str = "a") -> None:
        self.bus = Bus(folder, channel)
        self._heard: greenserve.Queue[bytes] = greenserve.Queue()
        self._thread = greenserve.spawn(self._listen)

    def _listen(self) -> None:
        for message in self.bus.messages():
            self._heard.put(message)

    def hear(self) -> bytes:
        return self._heard.get(timeout=DEADLINE)

    def is_silent(self) -> bool:
        return self._heard.empty()

    def close(self) -> None:
        self.bus.close()
        self._thread.kill()
        wait_until_parked()  # others have seen it


@contextmanager
def members(folder: str, count: int) -> Iterator[list[Member]]:
    with ExitStack() as stack:
        found = [Member(folder) for _ in range(count)]
        for member in found:
            stack.callback(member.close)
        wait_until_parked()
        yield found


def test_all_others_hear_what_one_publishes_in_its_order(folder: str) -> None:
    with members(folder, 3) as (ann, bob, carl):
        for number in range(100):
            ann.bus.publish(b"%d" % number)
        bob.bus.publish(b"of bob")
        expected = [b"%d" % number for number in range(100)]
        heard = [carl.hear() for _ in range(101)]
        assert [bob.hear() for _ in range(100)] == expected
        assert [message for message in heard if message != b"of bob"] == expected
        assert (ann.hear(), ann.is_silent(), bob.is_silent()) == (b"of bob", True, True)


def test_another_channel_in_the_same_folder_is_another_bus(folder: str) -> None:
    with members(folder, 2) as (ann, bob):
        carl = Member(folder, "b")
        carl.bus.publish(b"for nobody")
        ann.bus.publish(b"for bob")
        assert bob.hear() == b"for bob"
        wait_until_parked()
        assert carl.is_silent()
        carl.close()


def test_a_large_message_arrives_whole_and_in_its_place(folder: str) -> None:
    large = os.urandom(MEBIBYTE) * 12
    with members(folder, 2) as (ann, bob):
        for message in (b"before", large, b"after"):
            ann.bus.publish(message)
        assert [bob.hear() for _ in range(3)] == [b"before", large, b"after"]


def test_what_is_published_before_anybody_listens_is_sent_then(folder: str) -> None:
    with members(folder, 1) as (ann,):
        bus = Bus(folder, "a")
        bus.publish(b"early")
        ann.bus.publish(b"to whom it may concern")
        messages = bus.messages()
        assert next(messages) == b"to whom it may concern"
        assert ann.hear() == b"early"
        bus.close()
        messages.close()
        wait_until_parked()


def test_other_os_threads_may_publish(folder: str) -> None:
    with members(folder, 2) as (ann, bob):
        numbers = [b"%d" % number for number in range(50)]

        def publish() -> None:
            for number in numbers:
                ann.bus.publish(number)

        threads = [greenserve.spawn(greenserve.execute, publish) for _ in range(3)]
        for thread in threads:
            thread.wait(DEADLINE)
        assert sorted(bob.hear() for _ in range(150)) == sorted(numbers * 3)


def test_another_os_thread_does_not_run_ahead_of_a_hub_that_is_busy(folder: str) -> None:
    with members(folder, 2) as (ann, bob):
        begun, waiting = threading.Event(), []

        def publish() -> None:
            for number in range(1200):
                ann.bus.publish(b"%d" % number)
                waiting.append(len(ann.bus._outgoing))
                if number == 900:
                    begun.set()

        thread = threading.Thread(target=publish)
        thread.start()
        assert begun.wait(DEADLINE)  # natively: the hub does not run
        greenserve.execute(thread.join, DEADLINE)
        assert [bob.hear() for _ in range(1200)] == [b"%d" % number for number in range(1200)]
        assert max(waiting) <= 1001


def test_a_member_may_live_in_another_os_thread(folder: str) -> None:
    heard: greenserve.Queue[bytes] = greenserve.Queue()

    def listen(bus: Bus) -> None:
        for message in bus.messages():
            heard.put(message)
            if message == b"end":
                break
        bus.close()

    with members(folder, 1) as (ann,):
        bus = Bus(folder, "a")
        thread = threading.Thread(target=listen, args=(bus,))
        thread.start()
        ann.bus.publish(b"to the thread")
        assert heard.get(timeout=DEADLINE) == b"to the thread"
        bus.publish(b"by way of the thread")
        assert ann.hear() == b"by way of the thread"
        ann.bus.publish(b"end")
        greenserve.execute(thread.join, DEADLINE)
        assert not thread.is_alive()
        ann.bus.publish(b"to nobody")


def test_who_comes_later_hears_what_comes_later_and_who_ends_is_forgotten(folder: str) -> None:
    with members(folder, 2) as (ann, bob):
        ann.bus.publish(b"one")
        assert bob.hear() == b"one"
        bob.close()
        for text in (b"to nobody", b"to nobody, who is known to be gone"):
            ann.bus.publish(text)
        with members(folder, 1) as (carl,):
            ann.bus.publish(b"two")
            assert carl.hear() == b"two"
            assert len(os.listdir(folder)) == 2
    assert ann.bus.dropped == 0


def test_who_has_left_hears_nothing_more_keeps_no_connection_and_comes_back_as_somebody_else(folder: str) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    with members(folder, 1) as (ann,):
        heard = []
        for number in range(3):
            bus = Bus(folder, "a")
            listening = greenserve.spawn(lambda bus=bus: heard.extend(bus.messages()))
            wait_until_parked()
            ann.bus.publish(b"%d" % number)
            wait_until_parked()
            bus.close()
            listening.wait(DEADLINE)
            bus.publish(b"of somebody who has left")
            bus.close()
        assert heard == [b"0", b"1", b"2"]
        ann.bus.publish(b"to nobody")
        wait_until_parked()
        assert ann.is_silent()
        assert ann.bus.dropped == 0
    assert len(os.listdir("/proc/self/fd")) == fds


def test_who_leaves_while_nobody_takes_its_messages_keeps_nobody_waiting(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    with members(folder, 1) as (ann,), caplog.at_level(logging.WARNING, "greenserve.bus"):
        bus = Bus(folder, "a")
        messages = bus.messages()
        ann.bus.publish(b"first")
        assert next(messages) == b"first"
        for _ in range(100):  # more than wait for whoever takes them: the reader waits
            ann.bus.publish(b"more")
        wait_until_parked()
        bus.close()
        assert list(messages) == []
        wait_until_parked()
        assert bus._incoming == set()
        ann.bus.publish(b"to nobody")
    assert caplog.messages == []


def test_a_peer_may_be_closed_while_it_connects(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    members_of = Members(folder, "a")
    name, busy = members_of.enter()
    busy.listen(0)
    waiting = members_of.connect(name, 0)  # all that there is room for
    peer = Peer(members_of, name)
    peer.send(b"lost")
    wait_until_parked()
    peer.close()
    busy.accept()[0].close()
    conn, _ = busy.accept()
    assert conn.recv(1) == b""
    for sock in (conn, waiting, busy):
        sock.close()
    assert caplog.messages == []


def test_a_member_that_takes_nothing_holds_up_nobody_else(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    name, stopped = Members(folder, "a").enter()  # as of a process that was stopped: the system takes what fits
    message = bytes(MEBIBYTE)
    with members(folder, 2) as (ann, bob), caplog.at_level(logging.WARNING, "greenserve.bus"):
        for number in range(40):
            ann.bus.publish(b"%d" % number + message)
            assert bob.hear().startswith(b"%d\0" % number)
        assert ann.bus.dropped == 0
        conn, _ = stopped.accept()  # it goes on
        received = 0
        while received < 40 * len(encode_frame(message)):
            received += len(conn.recv(MEBIBYTE))
        conn.close()
        stopped.close()
        Members(folder, "a").remove(name)
    assert caplog.messages == []


def test_what_goes_beyond_the_bound_is_dropped_counted_and_told(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    members_of = Members(folder, "a")
    name, stopped = members_of.enter()
    peer = Peer(members_of, name)
    frame = bytes(MEBIBYTE)
    with caplog.at_level(logging.WARNING, "greenserve.bus"):
        for _ in range(MAX_QUEUED // len(frame) + 10):
            peer.send(frame)
    assert abs(peer.queued - MAX_QUEUED) <= MEBIBYTE
    assert 0 < peer.dropped <= 10
    assert caplog.messages == [f"process {os.getpid()} takes no messages: 1 message was dropped"]
    peer.wait_for_room()  # not for long, and then not at all
    with greenserve.testing.assert_no_switch():
        peer.wait_for_room()
    peer.close()
    stopped.close()
    wait_until_parked()


def test_a_member_that_can_not_be_reached_is_told_of(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    members_of = Members(folder, "a")
    peer = Peer(
        members_of, f"{'x' * 200}-123-0"
    )  # as without a free descriptor: the system refuses, and nobody is gone
    peer.send(b"lost")
    assert peer.is_gone
    assert caplog.messages == ["process 123 does not get 1 message: AF_UNIX path too long"]


def test_a_sender_waits_for_a_member_that_is_merely_slower(folder: str) -> None:
    members_of = Members(folder, "a")
    name, slow = members_of.enter()
    peer = Peer(members_of, name)
    frame = bytes(MEBIBYTE)
    queued = []

    def send() -> None:
        for _ in range(30):
            peer.send(frame)
            peer.wait_for_room()
            queued.append(peer.queued)

    sending = greenserve.spawn(send)
    conn, _ = slow.accept()
    received = 0
    while received < 30 * len(frame):
        received += len(conn.recv(65536))
    sending.wait(DEADLINE)
    assert (len(queued), peer.dropped) == (30, 0)
    assert max(queued) <= 9 * MEBIBYTE
    conn.close()
    peer.close()
    slow.close()


def test_who_only_sends_is_heard_by_all_in_order_and_hears_nothing(folder: str) -> None:
    sender = Sender(folder, "a")
    sender.publish(b"nobody is there")
    with members(folder, 2) as (ann, bob):
        large = bytes(3 * MEBIBYTE)
        for message in (b"1", large, b"2"):
            sender.publish(message)
        assert [ann.hear() for _ in range(3)] == [bob.hear() for _ in range(3)] == [b"1", large, b"2"]
        bob.close()
        for message in (b"3", b"4"):
            greenserve.execute(sender.publish, message)  # in another OS thread
        assert (ann.hear(), ann.hear()) == (b"3", b"4")
    sender.publish(b"nobody is there any more")
    assert (os.listdir(folder), len(sender._peers)) == ([], 0)
    wait_until_parked()


@contextmanager
def stopped_members(folder: str, count: int) -> Iterator[list[GreenSocket]]:
    """Yield the sockets of members that take nothing, as of processes that were stopped."""
    members_of = Members(folder, "a")
    entered = [members_of.enter() for _ in range(count)]
    yield [sock for _, sock in entered]
    for name, sock in entered:
        members_of.remove(name)
        sock.close()


def take(listener: GreenSocket, count: int) -> list[bytes]:
    """Return the next ``count`` messages to a member that goes on."""
    reader, heard = FrameReader(), []
    conn, _ = listener.accept()
    with conn:
        while len(heard) < count:
            heard += reader.feed(conn.recv(MEBIBYTE))
        conn.setblocking(False)
        with pytest.raises(BlockingIOError):
            conn.recv(1)
    return heard


def test_who_only_sends_waits_once_for_all_that_stand_still_and_sends_on_when_they_go_on(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    sender = Sender(folder, "a", patience=0.5)
    large = bytes(MEBIBYTE)  # more than the system takes for somebody who takes nothing
    with stopped_members(folder, 2) as stopped, members(folder, 1) as (ann,):
        greenserve.spawn(sender.publish, large).wait(DEADLINE)
        assert ann.hear() == large
        assert sorted(peer.is_stuck for peer in sender._peers.values()) == [False, True, True]
        texts = [b"%d" % number for number in range(100)]
        for text in texts:
            with assert_no_switch():
                sender.publish(text)
        assert [ann.hear() for _ in texts] == texts
        told = f"process {os.getpid()} has taken no messages for 0.5 s: it is not waited for until it takes some"
        assert caplog.messages == [told, told]
        taking = [greenserve.spawn(take, listener, 102) for listener in stopped]
        wait_until_parked()  # they have taken what the system has had for them
        sender.publish(b"last")
        assert [thread.wait(DEADLINE) for thread in taking] == [[large, *texts, b"last"]] * 2
        assert ann.hear() == b"last"
        assert [peer.is_stuck for peer in sender._peers.values()] == [False] * 3
        sender.close()


def test_who_only_sends_does_not_wait_for_ever_to_connect_to_somebody_who_stands_still(folder: str) -> None:
    sender = Sender(folder, "a", patience=0.05)
    with stopped_members(folder, 1) as (stopped,), members(folder, 1) as (ann,):
        stopped.listen(0)
        (name,) = (name for name in os.listdir(folder) if name != ann.bus._name)
        with Members(folder, "a").connect(name, 0):  # all that there is room for
            for text in (b"1", b"2", b"3"):
                sender.publish(text)
                assert ann.hear() == text
            stopped.accept()[0].close()
        sender.publish(b"4")
        assert take(stopped, 4) == [b"1", b"2", b"3", b"4"]
        sender.close()


def test_whoever_is_killed_while_it_sends_leaves_the_stream_whole(folder: str) -> None:
    sender = Sender(folder, "a")
    large = bytes(MEBIBYTE)
    with stopped_members(folder, 1) as (stopped,):
        sending = greenserve.spawn(sender.publish, large)
        wait_until_parked()
        assert not sending.ended
        sending.kill()
        publishing = greenserve.spawn(sender.publish, b"next")
        assert take(stopped, 2) == [large, b"next"]
        publishing.wait(DEADLINE)
        sender.close()


def test_other_os_threads_share_one_that_only_sends(folder: str) -> None:
    sender = Sender(folder, "a")
    with stopped_members(folder, 1) as (listener,):
        large = [b"%d" % number + bytes(MEBIBYTE) for number in range(8)]
        threads = [threading.Thread(target=sender.publish, args=(message,)) for message in large]
        for thread in threads:
            thread.start()
        assert sorted(take(listener, 8)) == large
        for thread in threads:
            greenserve.execute(thread.join, DEADLINE)
        sender.close()


def test_a_stream_that_is_no_bus_ends_that_connection_alone(folder: str, caplog: pytest.LogCaptureFixture) -> None:
    with members(folder, 2) as (ann, bob):
        (name,) = [name for name in os.listdir(folder) if name == bob.bus._name]
        with Members(folder, "a").connect(name, DEADLINE) as intruder:
            intruder.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert intruder.recv(1) == b""
        ann.bus.publish(b"still here")
        assert bob.hear() == b"still here"
    assert ["are announced" in message for message in caplog.messages] == [True]
