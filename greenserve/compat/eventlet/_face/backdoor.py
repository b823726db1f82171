"""``eventlet.backdoor``: a console inside of the running process."""

from __future__ import annotations

import sys
from typing import Any

from greenserve.debug import backdoors

__all__ = ["backdoor", "backdoor_server"]

_BANNER = (
    f"Python {sys.version} on {sys.platform}\n"
    'Type "help", "copyright", "credits" or "license" for more information.\n'
    "(InteractiveConsole)\n"
)


def backdoor(conn_info: tuple[Any, Any], locals: dict[str, Any] | None = None) -> Any:
    """Open a console on a connection, in a green thread of its own. It closes the connection.

    Args:
        conn_info: The connection and its peer's address, as ``accept`` returns them.
        locals: The variables of the console.
    """
    return backdoors.backdoor(conn_info, locals, banner=_BANNER)


def backdoor_server(sock: Any, locals: dict[str, Any] | None = None) -> None:
    """Serve consoles on ``sock`` until it is closed. May switch.

    Wherever it listens: who can connect can do what this process can.
    """
    backdoors.backdoor_server(sock, locals, anywhere=True, banner=_BANNER)
