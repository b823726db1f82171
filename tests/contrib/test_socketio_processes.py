"""Socket.IO in two processes: with a real Redis between them and a real nginx in front, and with our own bus."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import socketio

from greenserve.contrib.socketio import LocalManager
from tests.contrib.chats import MODES, chatting, visiting
from tests.contrib.programs import Program
from tests.docs.markdown import ROOT, find_pages
from tests.docs.running import reserve_port
from tests.servers import redis, require

pytestmark = pytest.mark.system

GUIDE = ROOT / "docs" / "howto" / "serve-socket-io.md"

# What the guide leaves to the reader's own configuration.
AROUND = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
access_log off;
client_body_temp_path {folder}/body;
proxy_temp_path {folder}/proxy;
fastcgi_temp_path {folder}/fastcgi;
uwsgi_temp_path {folder}/uwsgi;
scgi_temp_path {folder}/scgi;
{guide}
}}
"""


class Site(NamedTuple):
    """Where two processes, and the proxy in front of them, are reached."""

    first: str
    second: str
    front: str
    queue: str


@pytest.fixture(params=["patched", "patched native"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    nginx = require("nginx", "nginx-light")
    ports = {name: reserve_port() for name in ("8000", "8001", "8080")}
    with ExitStack() as stack:
        queue = f"redis://127.0.0.1:{stack.enter_context(redis())}/0"
        urls = [
            stack.enter_context(chatting(request.param, tmp_path / port, ports[port], CHAT_QUEUE=queue))
            for port in ("8000", "8001")
        ]
        page = next(page for page in find_pages() if page.path == GUIDE)
        [block] = [block for block in page.blocks if block.language == "nginx"]
        guide = re.sub(r"\b(8000|8001|8080)\b", lambda match: ports[match[1]].__str__(), block.text)
        (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path, guide=guide))
        program = stack.enter_context(
            Program(nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), cwd=tmp_path)
        )
        program.wait_for_port(ports["8080"])
        yield Site(*urls, f"http://127.0.0.1:{ports['8080']}", queue)


def test_an_emit_in_one_process_reaches_the_clients_of_the_other(site: Site) -> None:
    with visiting(site.first) as ann, visiting(site.second) as bob:
        for visitor, name in ((ann, "Ann"), (bob, "Bob")):
            visitor.tell("join", {"name": name, "room": "kitchen"})
            assert visitor.hear() == (name, "has come in")
        assert ann.hear() == ("Bob", "has come in")
        bob.tell("say", "hello")
        ann.tell("say", "hello yourself")
        assert sorted([ann.hear(), ann.hear()]) == sorted([bob.hear(), bob.hear()])
        for transports in (["polling"], ["websocket"], None):
            with visiting(site.front, transports, **{"X-Mine": "1"}) as carl:
                assert carl.tell("field", "X-Mine") == "1"
                assert carl.tell("field", "X-Forwarded-Host") == site.front.removeprefix("http://")
                carl.tell("join", {"name": "Carl", "room": "kitchen"})
                arrived = ("Carl", "has come in")
                assert (ann.hear(), bob.hear(), carl.hear()) == (arrived, arrived, arrived)


def test_a_program_that_serves_nobody_can_emit(site: Site) -> None:
    with visiting(site.first) as ann, visiting(site.second) as bob:
        for visitor in (ann, bob):
            visitor.tell("join", {"name": "anybody", "room": "own"})
            assert visitor.hear() == ("anybody", "has come in")
        ann.hear()  # of bob
        manager = socketio.RedisManager(site.queue, channel="flask-socketio", write_only=True)
        manager.emit("said", {"who": "the kitchen", "text": "Tea is ready."}, room="own")
        assert ann.hear() == bob.hear() == ("the kitchen", "Tea is ready.")
        manager.redis.close()


@pytest.mark.parametrize("route", MODES)
def test_with_the_bus_processes_hear_each_other_in_each_way_that_they_can_be_served(route: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bus")), "chat")
        first, second = (
            stack.enter_context(chatting(route, tmp_path / name, CHAT_BUS=str(folder))) for name in ("first", "second")
        )
        ann, bob = (stack.enter_context(visiting(url)) for url in (first, second))
        for visitor, name in ((ann, "Ann"), (bob, "Bob")):
            visitor.tell("join", {"name": name, "room": "kitchen"})
            assert visitor.hear() == (name, "has come in")
        assert ann.hear() == ("Bob", "has come in")
        ann.tell("say", "hello")
        assert ann.hear() == ("Ann", "hello")
        heard = bob.hear()
        if heard == ("Ann", "has come in"):  # it may have been on its way to his process when he came in
            heard = bob.hear()
        assert heard == ("Ann", "hello")
        outside = LocalManager(folder, write_only=True)
        outside.emit("said", {"who": "the kitchen", "text": "Tea is ready."}, room="kitchen")
        assert ann.hear() == bob.hear() == ("the kitchen", "Tea is ready.")
        outside.close()
