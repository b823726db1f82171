"""simple-websocket under the patch: its reading thread is green, and so is the selector in which it waits."""

from __future__ import annotations

import pytest

from tests.patched.running import run_script

SCRIPT = """
import greenserve, simple_websocket
from tests.certificates import serving_context
from tests.websocket.peers import TEXT, RawPeer, frame
from tests.wsgi.raw import running
from tests.wsgi.secure import connect

def app(environ, start_response):
    ws = simple_websocket.Server.accept(environ, ping_interval=25)
    for _ in range(2):
        ws.send(ws.receive())
    ws.close()
    return []

with greenserve.Timeout(10), running(app, **{keywords}) as run:
    client = {client}
    peer = RawPeer(client, early=frame(TEXT, b"early"))
    print(peer.read_frame()[1].decode())
    peer.send(frame(TEXT, b"x" * 10_000))
    print(len(peer.read_frame()[1]))
"""


@pytest.mark.parametrize(
    ("keywords", "client"), [("{}", "run.connect()"), ("{'ssl_context': serving_context()}", "connect(run)")]
)
def test_what_has_come_already_is_seen_at_once(keywords: str, client: str) -> None:
    assert run_script(SCRIPT.format(keywords=keywords, client=client)) == "early\n10000\n"
