"""A client of a debugger, as an editor is one: the Debug Adapter Protocol over TCP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

_DEADLINE = 20.0


class Editor:
    """Connected to the adapter that listens on ``port``, as soon as it does."""

    def __init__(self, port: int) -> None:
        self._sock = _connect(port)
        self._file = self._sock.makefile("rb")
        self._count = 0
        self._unread: list[dict[str, Any]] = []
        self.ask("initialize", adapterID="test", clientID="test", pathFormat="path")

    def send(self, command: str, **arguments: Any) -> int:
        """Make a request, and return its number."""
        self._count += 1
        request = {"seq": self._count, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(request).encode()
        self._sock.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return self._count

    def answer(self, number: int) -> Any:
        """Return the body of the response to a request."""
        response = self._wait(lambda message: message.get("request_seq") == number)
        assert response["success"], response
        return response.get("body")

    def ask(self, command: str, **arguments: Any) -> Any:
        return self.answer(self.send(command, **arguments))

    def event(self, name: str) -> Any:
        """Wait for an event, and return its body."""
        return self._wait(lambda message: message.get("event") == name).get("body")

    def attach(self, program: str, line: int) -> None:
        """Attach to the program that waits for us, and let it run to a breakpoint."""
        number = self.send("attach", justMyCode=False)
        self.event("initialized")
        self.ask("setBreakpoints", source={"path": program}, breakpoints=[{"line": line}])
        self.ask("configurationDone")
        self.answer(number)

    def stopped(self) -> tuple[int, str, dict[str, Any]]:
        """Wait until a thread has stopped: its number, why, and its innermost frame."""
        event = self.event("stopped")
        frames = self.ask("stackTrace", threadId=event["threadId"])["stackFrames"]
        return event["threadId"], event["reason"], frames[0]

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def _wait(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for message in self._unread:
            if is_wanted(message):
                self._unread.remove(message)
                return message
        while True:
            message = self._read()
            if is_wanted(message):
                return message
            self._unread.append(message)

    def _read(self) -> dict[str, Any]:
        length = 0
        while (line := self._file.readline()) != b"\r\n":
            assert line, "the debugger has gone"
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message: dict[str, Any] = json.loads(self._file.read(length))
        return message


def _connect(port: int) -> socket.socket:
    deadline = time.monotonic() + _DEADLINE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), _DEADLINE)
        except OSError:
            # Nothing tells that a port is being listened on.
            assert time.monotonic() < deadline, "the debugger does not listen"
            time.sleep(0.02)
