"""Messages over a socket: waiting, taking turns, and the ways in which a connection ends."""

from __future__ import annotations

import gc
import threading
import weakref
from time import monotonic

import pytest

import greenserve
from greenserve.errors import ConnectionClosed
from greenserve.net import socketpair
from greenserve.testing import assert_no_switch, wait_until_parked
from greenserve.websocket import Options, WebSocket
from greenserve.websocket.codec import server_codec
from tests.websocket.peers import BINARY, CLOSE, CONT, FINAL, PING, PONG, TEXT, close_payload, frame, in_green, joined

MORE_THAN_BUFFERS_HOLD = b"x" * 5_000_000


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ("é", [(FINAL | TEXT, "é".encode())]),
        (b"\xff", [(FINAL | BINARY, b"\xff")]),
        (bytearray(b"a"), [(FINAL | BINARY, b"a")]),
        (memoryview(b"a"), [(FINAL | BINARY, b"a")]),
        ("", [(FINAL | TEXT, b"")]),
        (["a", "", "b"], [(TEXT, b"a"), (CONT, b""), (FINAL | CONT, b"b")]),
        (iter([b"a"]), [(FINAL | BINARY, b"a")]),
        ("x" * 70_000, [(FINAL | TEXT, b"x" * 70_000)]),
    ],
)
def test_what_is_sent_arrives_as_frames(message, frames):
    with joined() as (ws, peer):
        sending = in_green(ws.send, message)
        assert [peer.read_frame() for _ in frames] == frames
        sending.wait()


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (7, TypeError),
        (None, TypeError),
        ([], ValueError),
        ([7], TypeError),
        (["a", b"b"], TypeError),
        ("\ud800", ValueError),
    ],
)
def test_what_is_no_message_is_refused(message, error):
    with joined() as (ws, _), pytest.raises(error):
        ws.send(message)


def test_a_message_that_could_not_be_sent_costs_nothing_where_none_of_it_was():
    with joined() as (ws, peer):
        with pytest.raises(TypeError):
            ws.send([7])
        ws.send("still there")
        assert peer.read_frame() == (FINAL | TEXT, b"still there")


def test_a_message_that_breaks_off_between_two_fragments_ends_the_connection():
    def parts():
        yield "a"
        yield "b"
        raise KeyError("a bug")

    with joined() as (ws, peer):
        with pytest.raises(KeyError):
            ws.send(parts())
        assert peer.read_frame() == (TEXT, b"a")
        with pytest.raises(ConnectionClosed, match="broken off"):
            ws.send("more")


def test_messages_are_received_in_order_and_those_before_the_end_too():
    with joined() as (ws, peer):
        peer.send(frame(TEXT, b"1") + frame(BINARY, b"2") + frame(CLOSE, close_payload(4000, "enough")))
        assert [ws.receive(), ws.receive()] == ["1", b"2"]
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert (caught.value.code, caught.value.reason) == (4000, "enough")
        assert isinstance(caught.value, OSError)
        assert (ws.close_code, ws.close_reason, ws.closed) == (4000, "enough", True)
        assert ws.wait() is None
        assert list(ws) == []
        with pytest.raises(ConnectionClosed):
            ws.send("late")
        with pytest.raises(ConnectionClosed):
            ws.ping()
        assert peer.read_close() == (4000, "enough")


def test_an_open_connection_has_no_close_code():
    with joined() as (ws, _):
        assert (ws.close_code, ws.close_reason, ws.closed, ws.protocol, ws.version) == (None, None, False, None, 13)
        assert repr(ws) == "<WebSocket /test open>"


def test_iterating_ends_with_a_connection_that_breaks():
    with joined() as (ws, peer):
        peer.send(frame(TEXT, b"1"))
        peer.close()
        assert list(ws) == ["1"]
        assert ws.close_code == 1006


def test_receiving_in_vain_costs_nothing():
    with joined() as (ws, peer):
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0)
        peer.send(frame(TEXT, b"whole")[:5])
        with pytest.raises(TimeoutError):
            ws.receive(timeout=0.01)
        with pytest.raises(greenserve.Timeout), greenserve.Timeout(0.01):
            ws.receive()
        peer.send(frame(TEXT, b"whole")[5:])
        assert ws.receive(timeout=5) == "whole"


def test_the_sockets_timeout_is_that_of_receiving():
    with joined() as (ws, _):
        ws.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            ws.wait()


def test_two_who_receive_get_one_message_each():
    with joined() as (ws, peer):
        first, second = in_green(ws.receive), in_green(ws.receive)
        peer.send(frame(TEXT, b"1") + frame(TEXT, b"2"))
        assert [first.wait(5), second.wait(5)] == ["1", "2"]


def test_pings_are_answered_while_somebody_receives():
    with joined() as (ws, peer):
        receiving = in_green(ws.receive)
        peer.send(frame(PING, b"1") + frame(PING, b"2"))
        assert [peer.read_frame() for _ in range(2)] == [(FINAL | PONG, b"1"), (FINAL | PONG, b"2")]
        peer.send(frame(TEXT, b"x"))
        assert receiving.wait(5) == "x"


def test_a_ping_carries_up_to_125_bytes():
    with joined() as (ws, peer):
        ws.ping("é")
        ws.ping(b"x" * 125)
        assert [peer.read_frame() for _ in range(2)] == [(FINAL | PING, "é".encode()), (FINAL | PING, b"x" * 125)]
        with pytest.raises(ValueError, match="126 bytes"):
            ws.ping(b"x" * 126)


def test_many_senders_do_not_mix_their_frames():
    with joined() as (ws, peer):
        messages = [bytes([number]) * 300_000 for number in range(10)]
        senders = [in_green(ws.send, message) for message in messages]
        fragments = in_green(ws.send, [b"a" * 100_000] * 3)
        assert [peer.read_frame() for _ in messages] == [(FINAL | BINARY, message) for message in messages]
        assert [peer.read_frame()[0] for _ in range(3)] == [BINARY, CONT, FINAL | CONT]
        for sender in (*senders, fragments):
            sender.wait(5)


def test_a_message_in_fragments_lets_pings_through_but_no_other_message():
    halfway = greenserve.Event()

    def parts():
        yield "a"
        yield "b"
        halfway.wait()
        yield "c"

    with joined() as (ws, peer):
        sending = in_green(ws.send, parts())
        other = in_green(ws.send, "other")
        ws.ping(b"p")
        halfway.send()
        frames = [peer.read_frame() for _ in range(5)]
        assert frames == [
            (TEXT, b"a"), (FINAL | PING, b"p"), (CONT, b"b"), (FINAL | CONT, b"c"), (FINAL | TEXT, b"other")
        ]  # fmt: skip
        sending.wait(5)
        other.wait(5)


def test_a_message_for_many_waits_for_nobody():
    with joined() as (ws, peer):
        with assert_no_switch():
            assert ws.send_nowait("1") is True
            assert ws.send_nowait("2") is False  # the first is still on its way
        assert peer.read_frame() == (FINAL | TEXT, b"1")
        assert ws.send_nowait(MORE_THAN_BUFFERS_HOLD) is True
        wait_until_parked()
        assert ws.send_nowait("3") is False
        assert peer.read_frame() == (FINAL | BINARY, MORE_THAN_BUFFERS_HOLD)
        wait_until_parked()
        assert ws.send_nowait("4") is True
        assert peer.read_frame() == (FINAL | TEXT, b"4")
        ws.abort()
        assert ws.send_nowait("5") is False
        with pytest.raises(TypeError):
            ws.send_nowait(["6"])


def test_whoever_sends_waits_while_the_peer_does_not_read():
    with joined() as (ws, peer):
        sending = in_green(ws.send, MORE_THAN_BUFFERS_HOLD)
        wait_until_parked()
        assert not sending.ended
        assert peer.read_frame() == (FINAL | BINARY, MORE_THAN_BUFFERS_HOLD)
        sending.wait(5)


def test_answers_to_pings_go_out_behind_the_frame_that_is_being_sent():
    with joined() as (ws, peer):
        sending = in_green(ws.send, MORE_THAN_BUFFERS_HOLD)
        receiving = in_green(ws.receive)
        peer.send(frame(PING, b"p") + frame(TEXT, b"x"))
        assert receiving.wait(5) == "x"
        assert not sending.ended
        assert peer.read_frame() == (FINAL | BINARY, MORE_THAN_BUFFERS_HOLD)
        assert peer.read_frame() == (FINAL | PONG, b"p")


def test_nothing_more_is_read_while_nobody_takes_messages():
    with joined() as (ws, peer):
        peer.sock.settimeout(None)
        flooding = in_green(peer.send, frame(BINARY, b"x" * 1000, mask=b"\0\0\0\0") * 5000)
        assert ws.receive() == b"x" * 1000
        wait_until_parked()
        assert not flooding.ended  # the rest fills the system's buffers, and no more
        for _ in range(4999):
            ws.receive()
        flooding.wait(5)


def test_a_flood_of_pings_that_nobody_reads_the_answers_of_is_not_read_on():
    with joined() as (ws, peer):
        sending = in_green(ws.send, MORE_THAN_BUFFERS_HOLD)
        receiving = in_green(ws.receive)
        peer.sock.settimeout(None)
        flooding = in_green(peer.send, frame(PING, b"x" * 100, mask=b"\0\0\0\0") * 30_000)
        wait_until_parked()
        assert not flooding.ended
        assert len(ws._codec.replies) < 1_000_000
        for thread in (sending, receiving, flooding):
            thread.kill()


def test_a_peer_that_takes_nothing_is_given_up():
    with joined(write_timeout=0.1) as (ws, _):
        receiving = in_green(ws.receive)
        with pytest.raises(ConnectionClosed, match=r"took nothing for 0\.1 s"):
            ws.send(MORE_THAN_BUFFERS_HOLD)
        with pytest.raises(ConnectionClosed, match="took nothing"):
            receiving.wait(5)
        assert ws.close_code == 1006


def test_a_frame_that_is_broken_off_ends_the_connection():
    with joined() as (ws, _):
        with pytest.raises(greenserve.Timeout), greenserve.Timeout(0.01):
            ws.send(MORE_THAN_BUFFERS_HOLD)
        with pytest.raises(ConnectionClosed, match="broken off"):
            ws.send("more")


def test_a_silent_peer_is_asked_and_then_given_up():
    with joined(ping_interval=0.05, ping_timeout=0.1) as (ws, peer):
        receiving = in_green(ws.receive)
        assert peer.read_frame() == (FINAL | PING, b"")
        with pytest.raises(ConnectionClosed, match="did not answer a ping"):
            receiving.wait(5)


def test_a_peer_that_answers_pings_is_kept_though_nobody_receives():
    with joined(ping_interval=0.05, ping_timeout=0.1) as (ws, peer):
        for _ in range(4):
            assert peer.read_frame() == (FINAL | PING, b"")
            peer.send(frame(PONG))
        ws.send("x")
        assert peer.read_frame() == (FINAL | TEXT, b"x")


def test_a_peer_that_has_answered_is_not_given_up_because_we_came_late():
    with joined(ping_interval=0.02, ping_timeout=0.02) as (ws, peer):
        assert peer.read_frame() == (FINAL | PING, b"")
        peer.send(frame(PONG))
        ws.look(monotonic() + 60)  # as it looks after a minute in which nothing ran
        assert not ws.closed


def test_an_app_that_closes_the_socket_itself_disturbs_no_other_connection():
    with joined(ping_interval=0.02, ping_timeout=5) as (ws, peer), joined(ping_interval=0.02) as (other, _):
        other.socket.close()
        for _ in range(3):
            assert peer.read_frame() == (FINAL | PING, b"")
            peer.send(frame(PONG))
        assert other.closed
        assert not ws.closed


def test_a_peer_whose_messages_wait_for_the_app_is_not_given_up():
    with joined(ping_interval=0.02, ping_timeout=0.02) as (ws, peer):
        peer.send(frame(TEXT, b"1") + frame(TEXT, b"2"))
        assert ws.receive() == "1"
        greenserve.sleep(0.2)  # ten times what a peer has that says nothing
        assert ws.receive() == "2"
        ws.send("x")


def test_a_close_is_noticed_and_answered_though_nobody_receives():
    with joined(ping_interval=0.1) as (ws, peer):
        peer.send(frame(CLOSE, close_payload(1001)))
        assert peer.read_close() == (1001, "")
        with pytest.raises(ConnectionClosed):
            ws.send("x")


def test_closing_says_so_and_waits_for_the_peer():
    with joined() as (ws, peer):
        closing = in_green(ws.close, 4000, "enough")
        assert peer.read_close() == (4000, "enough")
        peer.send(frame(TEXT, b"late") + frame(CLOSE, close_payload(4000, "enough")))
        assert peer.is_closed()
        assert not closing.ended  # the peer may still be sending
        peer.close()
        closing.wait(5)
        assert ws.socket.fileno() == -1
        assert (ws.close_code, ws.close_reason) == (4000, "enough")
        ws.close()


def test_closing_ends_what_another_green_thread_receives():
    with joined() as (ws, peer):
        receiving = in_green(ws.receive)
        closing = in_green(ws.close)
        assert peer.read_close() == (1000, "")
        peer.send(frame(CLOSE, close_payload(1000)))
        with pytest.raises(ConnectionClosed):
            receiving.wait(5)
        peer.close()
        closing.wait(5)


def test_a_peer_that_does_not_answer_a_close_is_cut_off():
    with joined(close_timeout=0.05) as (ws, peer):
        receiving = in_green(ws.receive)
        ws.close()
        with pytest.raises(ConnectionClosed):
            receiving.wait(5)
        assert ws.close_code == 1006
        assert peer.read_close() == (1000, "")
        assert peer.is_closed()


def test_a_peer_that_goes_on_sending_does_not_keep_a_close_waiting():
    with joined(close_timeout=0.2) as (ws, peer):

        def flood():
            try:
                while True:
                    peer.send(frame(BINARY, b"x" * 10_000, mask=b"\0\0\0\0"))
            except OSError:
                pass

        flooding = in_green(flood)
        with greenserve.Timeout(5):
            ws.close()
        flooding.wait(5)
        assert ws.close_code == 1006


def test_a_close_does_not_wait_for_long_behind_a_frame_that_the_peer_does_not_take():
    with joined(close_timeout=0.05) as (ws, _):
        sending = in_green(ws.send, MORE_THAN_BUFFERS_HOLD)
        with greenserve.Timeout(5):
            ws.close()
        with pytest.raises(ConnectionClosed):
            sending.wait(5)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000])
def test_a_code_that_may_not_be_sent_is_refused(code):
    with joined() as (ws, _), pytest.raises(ValueError, match=str(code)):
        ws.close(code)


def test_a_reason_has_at_most_123_bytes():
    with joined() as (ws, _), pytest.raises(ValueError, match="123 bytes"):
        ws.close(1000, "é" * 62)


@pytest.mark.parametrize(
    ("raised", "code"), [(None, 1000), (ConnectionClosed(1000, ""), 1000), (KeyError("a bug"), 1011)]
)
def test_at_the_end_of_its_block_it_closes(raised, code):
    with joined(close_timeout=0.05) as (ws, peer):

        def block():
            with ws:
                if raised is not None:
                    raise raised

        running = in_green(block)
        assert peer.read_close()[0] == code
        peer.send(frame(CLOSE, close_payload(code)))
        peer.close()
        if raised is None:
            running.wait(5)
        else:
            with pytest.raises(type(raised)):
                running.wait(5)


def test_a_block_that_is_killed_aborts():
    with joined() as (ws, peer):

        def block():
            with ws:
                ws.receive()

        in_green(block).kill()
        assert peer.is_closed()
        assert ws.closed


def test_what_breaks_the_rules_is_told_to_both_sides():
    with joined() as (ws, peer):
        peer.send(frame(TEXT, b"\xff"))
        with pytest.raises(ConnectionClosed, match="UTF-8") as caught:
            ws.receive()
        assert caught.value.code == 1007
        assert peer.read_close()[0] == 1007
        assert peer.is_closed()


def test_a_message_over_the_limit_is_1009():
    with joined(max_message_size=10) as (ws, peer):
        peer.send(frame(TEXT, b"x" * 10) + frame(TEXT, b"x" * 11))
        assert ws.receive() == "x" * 10
        with pytest.raises(ConnectionClosed) as caught:
            ws.receive()
        assert caught.value.code == 1009
        assert peer.read_close()[0] == 1009


def test_others_have_their_turn_while_messages_are_taken_without_a_wait():
    with joined() as (ws, peer):
        peer.send(frame(TEXT, b"x") * 9000)
        assert ws.receive() == "x"
        turns = []

        def count():
            while True:
                turns.append(1)
                greenserve.sleep(0)

        counting = in_green(count)
        del turns[:]
        for _ in range(8999):
            ws.receive()
        counting.kill()
        assert len(turns) > 1


def test_it_may_be_used_from_several_os_threads():
    with joined() as (ws, peer):

        def send_many(name):
            for number in range(200):
                ws.send(f"{name} {number} " + "x" * 2000)

        threads = [threading.Thread(target=send_many, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        green = in_green(send_many, "g")
        seen: dict[str, list[int]] = {}
        for _ in range(800):
            first, payload = peer.read_frame()
            assert first == FINAL | TEXT
            name, number, _ = payload.decode().split(" ")
            seen.setdefault(name, []).append(int(number))
        green.wait(5)
        for thread in threads:
            thread.join(5)
        assert seen == {name: list(range(200)) for name in "abcg"}


def test_a_native_thread_may_receive_what_ends_with_a_close_from_here():
    with joined(close_timeout=0.1) as (ws, peer):
        got = greenserve.Queue()

        def receive():
            for message in ws:
                got.put(message)
            got.put(None)

        thread = threading.Thread(target=receive)
        thread.start()
        peer.send(frame(TEXT, b"1"))
        assert got.get(timeout=5) == "1"
        ws.close()
        assert got.get(timeout=5) is None
        thread.join(5)


@pytest.fixture
def _without_the_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_without_the_collector")
def test_a_connection_that_was_ended_leaves_nothing_to_the_collector():
    with joined() as (ws, peer):
        parts = [weakref.ref(each) for each in (ws, ws.socket, ws._codec._protocol)]
        peer.send(frame(TEXT, b"whole") + frame(TEXT, b"begun")[:-2])
        assert ws.receive() == "whole"
    del ws
    assert [part() for part in parts] == [None] * 3


def test_the_heartbeat_keeps_no_connection_alive():
    with joined() as (ws, _):
        ours, _theirs = socketpair()
        other = WebSocket(ours, server_codec(1000, [], None), Options(ping_interval=0.02))
        gone = weakref.ref(other)
        assert _theirs.recv(2) == bytes([FINAL | PING, 0])  # a beat
        ours.close()
        _theirs.close()
        del other
        gc.collect()
        assert gone() is None
        assert not ws.closed


@pytest.mark.parametrize(
    "options",
    [{"max_message_size": 0}, {"ping_interval": 0}, {"ping_timeout": -1}, {"close_timeout": 0}, {"write_timeout": 0}],
)
def test_options_that_make_no_sense_are_refused_by_name(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Options(**options)
