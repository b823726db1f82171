"""An interactive Python console inside of a running process, for each connection to a socket.

Facts this rests on (CPython's ``code`` and ``site`` modules):

- What an expression gives goes through ``sys.displayhook``, which also sets ``builtins._``: in a program that uses
  gettext, that is its translation function.
- ``exit()`` closes the process's stdin before it raises SystemExit.
- A console of the standard library sets ``sys.ps1``, by which libraries tell that somebody sits at the terminal.

What this means for us: while consoles are open, what belongs to their green threads goes to their connections and
leaves the rest of the process alone; the loop is our own.
"""

from __future__ import annotations

import builtins
import code
import os
import sys
from _socket import AF_INET, AF_INET6, AF_UNIX
from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from greenserve._kinds import Network
from greenserve._log import get_logger
from greenserve._version import __version__
from greenserve.core.greenthreads import GreenThread, spawn
from greenserve.net.listeners import connections_of
from greenserve.net.sockets import GreenSocket

__all__ = ["backdoor", "backdoor_server"]

log = get_logger("greenserve.debug")

_LOOPBACK = (Network("127.0.0.0/8"), Network("::1"))
_MAX_LINE = 65536

_BANNER = f"Python {sys.version}\ngreenserve {__version__}, process {{pid}}; exit() or Ctrl-D leaves\n"


def backdoor_server(
    sock: GreenSocket, locals: dict[str, Any] | None = None, *, anywhere: bool = False, banner: str = _BANNER
) -> None:
    """Serve consoles on ``sock``, which listens, until it is closed. May switch.

    Whoever can connect can do what this process can: to a TCP port that is every user of this machine, to a Unix socket
    those whom its file and its directory let. It is closed in the end.

    Args:
        locals: The variables of every console, which share them; each has its own by default.
        anywhere: Listen at an address that other machines can reach, too.
        banner: What a console begins with.

    Raises:
        ValueError: Other machines can reach ``sock``, and ``anywhere`` is false.
    """
    try:
        where = _describe(sock)
        if not anywhere and not _is_local(sock):
            raise ValueError(f"backdoor_server() at {where}: other machines reach that; say anywhere=True if they may")
        log.warning("backdoor server listening on %s: who connects there can run any code in this process", where)
        for connection in connections_of(sock):
            backdoor(connection, locals, banner=banner)
    finally:
        sock.close()


def backdoor(
    conn_info: tuple[GreenSocket, Any], locals: dict[str, Any] | None = None, *, banner: str = _BANNER
) -> GreenThread[None]:
    """Open a console on a connection, in a green thread of its own, which is returned. It closes the connection.

    Args:
        conn_info: The connection and its peer's address, as ``accept`` returns them.
        locals: The variables of the console.
        banner: What it begins with; ``{pid}`` is the process.
    """
    conn, address = conn_info
    log.info("backdoor opened to %s", address or "a Unix socket")
    return spawn(_serve, conn, {} if locals is None else locals, banner)


def _describe(sock: GreenSocket) -> str:
    name = sock.getsockname()
    if sock.family == AF_UNIX:
        return os.fsdecode(name)
    return f"[{name[0]}]:{name[1]}" if sock.family == AF_INET6 else f"{name[0]}:{name[1]}"


def _is_local(sock: GreenSocket) -> bool:
    if sock.family not in {AF_INET, AF_INET6}:
        return True
    host = sock.getsockname()[0].partition("%")[0]
    return any(network.includes(host) for network in _LOOPBACK)


def _serve(conn: GreenSocket, variables: dict[str, Any], banner: str) -> None:
    """One console, from its greeting to its end. May switch."""
    make_file = partial(conn.makefile, encoding="utf-8", errors="replace", newline="")
    # Two files: writing to one that is read as well throws away what it has read ahead.
    with conn, make_file("r") as lines, make_file("w") as file:
        file.reconfigure(line_buffering=True)  # what a loop prints is to be seen while it goes on
        console = _Console(lines, file, variables)
        _outputs.add(getcurrent(), console)
        try:
            console.run(banner)
        except SystemExit:
            pass  # exit() or quit()
        except OSError as exc:
            log.debug("a backdoor's peer has gone: %s", exc)
        finally:
            _outputs.remove(getcurrent())


class _Console(code.InteractiveConsole):
    """A console that reads ``lines`` and writes to ``file``."""

    def __init__(self, lines: Any, file: Any, variables: dict[str, Any]) -> None:
        variables.setdefault("__builtins__", builtins)
        variables.setdefault("exit", _Exit("exit"))
        variables.setdefault("quit", _Exit("quit"))
        super().__init__(variables, "<backdoor>")
        self.file = file
        self._lines = lines

    def run(self, banner: str) -> None:
        """Read and execute, until the peer closes its side or says exit(). May switch.

        Raises:
            SystemExit: It was said.
            OSError: The peer has gone.
        """
        self.write(banner.replace("{pid}", str(os.getpid())))
        more = False
        while True:
            self.write("... " if more else ">>> ")
            line = self._lines.readline(_MAX_LINE)
            if not line:
                return
            if len(line) == _MAX_LINE and line[-1] != "\n":
                self.write(f"a line has no more than {_MAX_LINE} characters\n")
                return
            more = self.push(line.rstrip("\r\n"))

    def runcode(self, code: CodeType) -> None:
        try:
            exec(code, self.locals)
        except (SystemExit, GreenletExit):
            raise
        except BaseException:  # noqa: BLE001 - whatever it is, it is shown to whoever sits there
            self.showtraceback()

    def write(self, data: str) -> None:
        self.file.write(data)
        self.file.flush()

    def show(self, value: object) -> None:
        """What ``sys.displayhook`` is for this console."""
        if value is not None:
            self.write(f"{value!r}\n")
            self.locals["_"] = value


class _Exit:
    """``exit`` and ``quit``: they end the console, not the process."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, code: object = None) -> None:
        raise SystemExit(code)

    def __repr__(self) -> str:
        return f"{self._name}() or Ctrl-D leaves; the process goes on"


class _Divided:
    """Stands for ``sys.stdout`` or ``sys.stderr``: a console's green thread writes to its connection."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        console = _outputs.consoles.get(getcurrent())
        return getattr(self._own if console is None else console.file, name)


class _Outputs:
    """The open consoles, and what their green threads see of ``sys`` in place of what it was."""

    def __init__(self) -> None:
        self.consoles: dict[greenlet, _Console] = {}
        self._replaced: dict[str, tuple[Any, Any]] = {}  # a name of sys: what was there, what is there instead

    def add(self, thread: greenlet, console: _Console) -> None:
        self.consoles[thread] = console
        if not self._replaced:
            for name in ("stdout", "stderr"):
                self._replace(name, _Divided(getattr(sys, name)))
            self._replace("displayhook", _display)

    def remove(self, thread: greenlet) -> None:
        del self.consoles[thread]
        if not self.consoles:
            for name, (before, ours) in self._replaced.items():
                if getattr(sys, name) is ours:  # else somebody has replaced it in the meantime
                    setattr(sys, name, before)
            self._replaced.clear()

    def _replace(self, name: str, ours: Any) -> None:
        self._replaced[name] = getattr(sys, name), ours
        setattr(sys, name, ours)

    def displayhook(self) -> Callable[[object], Any]:
        return self._replaced["displayhook"][0] if self._replaced else sys.__displayhook__


_outputs = _Outputs()


def _display(value: object) -> None:
    console = _outputs.consoles.get(getcurrent())
    if console is None:
        _outputs.displayhook()(value)
    else:
        console.show(value)
