"""The chat of ``tests/contrib/chat``, served in each way that Socket.IO goes with greenserve."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.contrib.programs import LIFETIME, Program, environment
from tests.docs.running import reserve_port
from tests.servers import require

CHAT = Path(__file__).parent / "chat"

# What a program for eventlet begins with, and what the one for the native driver has changed.
EVENTLET = "import eventlet\neventlet.monkey_patch()\n"
IMPORTS = "from flask_socketio import SocketIO, emit, join_room, leave_room\n"
NATIVE_IMPORTS = (
    "from flask_socketio import emit, join_room, leave_room\nfrom greenserve.contrib.flask_socketio import SocketIO\n"
)

# Each way, and the mode that Socket.IO has in it.
MODES = {
    "eventlet's name": "eventlet",
    "patched": "threading",
    "gunicorn": "threading",
    "native": "greenserve",
    "patched native": "greenserve",
}


@contextmanager
def chatting(route: str, folder: Path, port: int | None = None, **variables: str) -> Iterator[str]:
    """Serve the chat in one of the ways of `MODES`, and give its URL."""
    port = port or reserve_port()
    folder.mkdir(exist_ok=True)
    source = (CHAT / "chat.py").read_text()
    assert IMPORTS in source
    shutil.copy(CHAT / "chat.html", folder)
    chosen = {} if "native" in route else {"CHAT_MODE": MODES[route]}
    if route == "eventlet's name":
        source, command = (
            source.replace("import os\n", EVENTLET + "import os\n"),
            ["-m", "greenserve.compat.eventlet", "chat.py"],
        )
    elif route == "native":
        source, command = source.replace(IMPORTS, NATIVE_IMPORTS), ["chat.py"]
    elif route == "gunicorn":
        worker = ["-k", "greenserve.contrib.gunicorn.Worker", "--no-control-socket"]
        command = ["-m", "gunicorn", *worker, "--bind", f"127.0.0.1:{port}", "chat:app"]
    else:
        command = ["-m", "greenserve", "--bind", f"127.0.0.1:{port}", "chat:app"]
        if route == "patched native":
            source = source.replace(IMPORTS, NATIVE_IMPORTS)
    (folder / "chat.py").write_text(source)
    env = environment(CHAT_PORT=str(port), **chosen, **variables)
    with Program.of_python(*command, cwd=folder, env=env) as program:
        program.wait_for_port(port)
        url = f"http://127.0.0.1:{port}"
        with visiting(url, ["polling"]) as visitor:
            assert visitor.tell("mode", "") == [MODES[route], "greenserve"]
        yield url
        assert "Traceback" not in program.output, program.output


@pytest.fixture(scope="session")
def client_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Socket.IO client for browsers, from npm."""
    folder = tmp_path_factory.mktemp("npm")
    npm = require("npm", "npm")
    command = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(
        [*command, "socket.io-client@4"], capture_output=True, text=True, timeout=LIFETIME, check=False, cwd=folder
    )
    if done.returncode:
        reason = f"npm could not fetch socket.io-client: {done.stderr[-500:]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return folder / "node_modules" / "socket.io-client" / "dist" / "socket.io.js"


@contextmanager
def visiting(url: str, transports: list[str] | None = None, **headers: str) -> Iterator[Visitor]:
    """Connect python-socketio's client. ``transports`` None begins by polling and upgrades."""
    visitor = Visitor()
    visitor.client.connect(url, transports=transports, headers=headers, wait_timeout=LIFETIME)
    try:
        yield visitor
    finally:
        # By polling it sends its good-bye only if it has had the answer to what it sent before; else it would wait for
        # the next ping.
        visitor.client.eio.queue.join()
        visitor.client.disconnect()
        visitor.client.eio.wait()


class Visitor:
    """A client that notes what it hears, in order."""

    def __init__(self) -> None:
        self.client = socketio.Client(reconnection=False)
        self._heard = self.client.eio.create_queue()
        self.client.on("said", lambda data: self._heard.put((data["who"], data["text"])))
        self.client.on("big", self._heard.put)

    def tell(self, event: str, data: Any) -> Any:
        """Send, and return what the handler returned once it has."""
        return self.client.call(event, data, timeout=LIFETIME)

    def hear(self) -> Any:
        return self._heard.get(timeout=LIFETIME)
