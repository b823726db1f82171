from __future__ import annotations

import builtins
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve import Event, GreenThread, connect, kill, listen, sleep, spawn
from greenserve.debug import backdoor, backdoor_server
from greenserve.net import GreenSocket, socketpair
from tests.core.scripts import output


class Client:
    """Somebody who has connected to a backdoor and was greeted."""

    def __init__(self, sock: GreenSocket) -> None:
        self._sock = sock
        self._sock.settimeout(10)
        self.greeting = self.read()

    def read(self) -> str:
        """What comes up to the next prompt, without it; or to the end."""
        received = ""
        while not received.endswith((">>> ", "... ")):
            part = self._sock.recv(4096).decode()
            if not part:
                return received
            received += part
        return received[:-4]

    def ask(self, line: str) -> str:
        return self.say(line + "\n")

    def say(self, text: str) -> str:
        self._sock.sendall(text.encode())
        return self.read()


@pytest.fixture
def door() -> Iterator[Any]:
    """Opens a console with the variables that it is given, and returns its client."""
    opened: list[tuple[GreenThread[None], GreenSocket]] = []

    def open_door(variables: dict[str, Any] | None = None) -> Client:
        ours, theirs = socketpair()
        opened.append((backdoor((ours, ""), variables), theirs))
        return Client(theirs)

    yield open_door
    for thread, sock in opened:
        sock.close()
        thread.wait()


def test_expressions_statements_and_blocks_are_executed(door: Any) -> None:
    client = door({"x": 41})
    assert client.greeting.startswith(f"Python {sys.version}\ngreenserve ")
    assert client.ask("x + 1") == "42\n"
    assert client.ask("_") == "42\n"
    assert client.ask("y = 'grün'") == ""
    assert client.ask("y") == "'grün'\n"
    assert client.ask("None") == ""
    assert [client.ask(line) for line in ("for i in range(2):", "    print(i)", "")] == ["", "", "0\n1\n"]


def test_errors_are_shown_and_the_console_goes_on(door: Any) -> None:
    client = door()
    assert client.ask("1 / 0").splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert client.ask("x = = 1").splitlines()[-1] == "SyntaxError: invalid syntax"
    assert client.ask("raise KeyboardInterrupt").splitlines()[-1] == "KeyboardInterrupt"
    assert client.ask("1") == "1\n"


def test_each_console_sees_what_it_prints_and_nobody_else_does(door: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = door(), door()
    assert first.ask("import sys; print('first'); sys.stderr.write('!')") == "first\n!1\n"
    assert second.ask("print('second')") == "second\n"
    print("the program's own")
    assert capsys.readouterr() == ("the program's own\n", "")
    assert first.ask("1") == "1\n"


def test_the_process_is_as_before_when_the_last_console_ends(door: Any) -> None:
    before = sys.stdout, sys.stderr, sys.displayhook
    first, second = door(), door()
    assert first.ask("5") == "5\n"
    assert first.ask("exit()") == ""
    assert second.ask("print(6)") == "6\n"
    assert second.ask("quit()") == ""
    sleep(0)
    assert (sys.stdout, sys.stderr, sys.displayhook) == before
    assert not hasattr(builtins, "_")
    assert not hasattr(sys, "ps1")


def test_what_somebody_else_has_put_in_place_of_stdout_stays(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = door()
    other = object()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", other)
        client.ask("exit()")
        sleep(0)
        assert sys.stdout is other


@pytest.mark.parametrize("line", ["exit()", "quit()", "raise SystemExit(3)"])
def test_leaving_ends_the_console_and_not_the_process(line: str, door: Any) -> None:
    client = door()
    assert client.ask(line) == ""
    assert not sys.stdin.closed


def test_exit_tells_how_it_is_used(door: Any) -> None:
    assert door().ask("exit") == "exit() or Ctrl-D leaves; the process goes on\n"


def test_others_run_while_a_console_waits(door: Any) -> None:
    others: list[GreenThread[str]] = []

    def wait_for_another() -> None:
        others.append(spawn(lambda: "ran"))
        others[0].wait(10)

    door({"wait_for_another": wait_for_another}).ask("wait_for_another()")
    assert others[0].wait() == "ran"


def test_a_line_that_is_too_long_closes_the_console(door: Any) -> None:
    assert door().say("x" * 65536) == "a line has no more than 65536 characters\n"


def test_a_peer_that_goes_ends_its_console() -> None:
    ours, theirs = socketpair()
    thread = backdoor((ours, ""))
    sleep(0)
    theirs.close()
    thread.wait(10)
    assert ours.fileno() == -1


def test_a_killed_console_ends_even_in_the_middle_of_a_command(door: Any) -> None:
    ours, theirs = socketpair()
    began: Event[None] = Event()
    thread = backdoor((ours, ""), {"begin": began.send, "sleep": sleep})
    with theirs:
        client = Client(theirs)
        theirs.sendall(b"begin() or sleep(60)\n")
        began.wait(10)
        kill(thread)
        assert thread.ended
        assert client.read() == ""


def test_the_server_says_where_it_listens_and_serves_until_it_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    sock = listen(("127.0.0.1", 0))
    host, port = sock.getsockname()
    server = spawn(backdoor_server, sock, {"answer": 42})
    for _ in range(2):
        with connect((host, port)) as conn:
            client = Client(conn)
            assert client.ask("answer") == "42\n"
            assert client.ask("exit()") == ""
    sock.close()
    server.wait(10)
    assert caplog.record_tuples[0][:2] == ("greenserve.debug", logging.WARNING)
    assert caplog.messages[0].startswith(f"backdoor server listening on 127.0.0.1:{port}: who connects")


def test_the_server_serves_a_unix_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = str(tmp_path / "door")
    sock = listen(path)
    server = spawn(backdoor_server, sock)
    with connect(path) as conn:
        client = Client(conn)
        assert client.ask("1 + 1") == "2\n"
        assert client.ask("exit()") == ""
    sock.close()
    server.wait(10)
    assert caplog.messages[0].startswith(f"backdoor server listening on {path}: ")


@pytest.mark.parametrize(
    ("host", "allowed"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
)
def test_only_this_machine_reaches_it_unless_told_otherwise(host: str, allowed: bool) -> None:
    sock = listen((host, 0))
    if not allowed:
        with pytest.raises(ValueError, match="say anywhere=True if they may"):
            backdoor_server(sock)
        assert sock.fileno() == -1
        sock = listen((host, 0))
    server = spawn(backdoor_server, sock, anywhere=not allowed)
    sleep(0)
    assert not server.ended
    sock.close()
    server.wait(10)


def test_it_works_for_a_client_that_knows_nothing_of_green_threads() -> None:
    assert output("""
        import socket, threading
        from greenserve import execute, listen, spawn
        from greenserve.debug import backdoor_server

        def talk():
            with socket.create_connection(address) as sock, sock.makefile("r") as lines:
                sock.sendall(b"import os; os.getpid()\\nexit()\\n")
                return lines.read().splitlines()[-2]

        sock = listen(("127.0.0.1", 0))
        address = sock.getsockname()
        server = spawn(backdoor_server, sock)
        import logging, os
        logging.getLogger("greenserve.debug").disabled = True
        print(execute(talk) == f">>> {os.getpid()}")
        sock.close()
        server.wait()
    """) == ["True"]
