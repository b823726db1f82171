"""``eventlet.backdoor``: a console inside of the running process."""

from __future__ import annotations

from typing import Any

from greenserve.debug import backdoors

__all__ = ["backdoor", "backdoor_server"]

backdoor = backdoors.backdoor


def backdoor_server(sock: Any, locals: dict[str, Any] | None = None) -> None:
    """Serve consoles on ``sock`` until it is closed. May switch.

    Wherever it listens: who can connect can do what this process can.
    """
    backdoors.backdoor_server(sock, locals, anywhere=True)
