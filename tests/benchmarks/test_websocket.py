from __future__ import annotations

from importlib.util import find_spec

import pytest

import greenserve
from benchmarks import websocket
from benchmarks.__main__ import main
from benchmarks.clients.websockets import Crowd, client_frame, head
from benchmarks.websockets.greenserve import handle
from greenserve.websocket import Deflate, WebSocketWSGI
from greenserve.websocket.codec import negotiate, server_codec
from tests.wsgi.raw import running


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
@pytest.mark.parametrize("deflate", [False, True])
def test_the_clients_frames_are_what_a_server_reads(size, deflate):
    extensions = negotiate("permessage-deflate; client_max_window_bits", Deflate())[1] if deflate else []
    codec = server_codec(1 << 24, extensions, None)
    codec.receive(client_frame(b"x" * size, deflate))
    while codec.has_unparsed:
        codec.parse()
    assert list(codec.messages) == ["x" * size]


@pytest.mark.parametrize("size", [32, 100_000])
def test_the_crowd_counts_messages_that_come_back(size):
    with running(WebSocketWSGI(handle)) as run:
        crowd = Crowd(run.address[1], deflate=False)
        greenserve.execute(crowd.open, 5)
        assert len(crowd.sockets) == 5
        answer = len(head(size, 0)) + size
        assert greenserve.execute(crowd.exchange, client_frame(b"x" * size), answer, 0.2) > 0
        crowd.close()


def test_a_message_to_all_comes_to_all_of_the_crowd():
    with running(WebSocketWSGI(handle, compression=True)) as run:
        crowd = Crowd(run.address[1], deflate=True)
        greenserve.execute(crowd.open, 5)
        next(iter(crowd.sockets.values())).send(client_frame(b"!all", deflate=True))
        greenserve.execute(crowd.collect)
        crowd.close()


def test_every_server_has_its_program():
    assert [server.name for server in websocket.SERVERS if find_spec(f"benchmarks.{server.program}") is None] == []


def test_an_unknown_server_is_refused(capsys):
    assert main(["websocket", "--servers", "nobody"]) == 2
    assert "gevent-websocket" in capsys.readouterr().err


def test_the_table_of_messages_compares_rates_and_has_failures():
    rows = [
        websocket.Figures("32 bytes", "greenserve", per_second=[20_000.0, 22_000.0], cpu_us=[20.0, 21.0]),
        websocket.Figures("32 bytes", "slower", per_second=[10_000.0], cpu_us=[40.0]),
        websocket.Figures("32 bytes", "broken", failure="it ended"),
        websocket.Figures("32 bytes", "not measured"),
    ]
    lines = websocket.format_echo(rows).split("\n")[2:]
    assert [line.split()[0] for line in lines] == ["greenserve", "slower", "broken"]
    assert "2.10" in lines[1]
    assert "21,000 (20,000 to 22,000)" in lines[0]


def test_the_table_of_held_connections_has_memory_and_the_message_to_all():
    rows = [websocket.Figures("held", "greenserve", private_kb=[19.5], resident_kb=[20.0], to_all_ms=[150.0])]
    assert websocket.format_held(rows).split("\n")[2].split() == ["greenserve", "19.5", "20.0", "150"]
