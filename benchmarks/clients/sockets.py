"""What the client programs do with sockets beyond the standard library."""

from __future__ import annotations

import socket
import struct

__all__ = ["abort"]


def abort(sock: socket.socket) -> None:
    """Close a connection with a reset: nothing more is sent, and the port does not stay in TIME_WAIT."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
