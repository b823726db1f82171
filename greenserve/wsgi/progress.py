"""Whether a client still takes what was sent to it. Knows one system call; no connection.

Facts this rests on (Linux tcp(7), unix(7); ``sk_stream_is_writeable`` in its source):

- The ioctl SIOCOUTQ, which is TIOCOUTQ under another name, tells how many bytes the peer has not acknowledged.
- A socket whose buffer was full is writable again only once a third of the buffer is free.

What this means for us: a client that takes an answer slowly may keep the server waiting for longer than it pauses
itself. Whether it pauses shows in the first number alone.
"""

from __future__ import annotations

import fcntl
import struct
import termios

__all__ = ["bytes_not_taken"]

_INT = struct.Struct("i")


def bytes_not_taken(fd: int) -> int:
    """How many of the bytes sent on a socket its peer has not acknowledged; 0 where the system does not tell."""
    try:
        answer = fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(_INT.size))
    except (OSError, ValueError):  # closed, or a system without it
        return 0
    count: int = _INT.unpack(answer)[0]
    return count
