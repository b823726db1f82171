"""What can be chosen for a WebSocket connection. Data alone."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Deflate", "Options"]


@dataclass(frozen=True)
class Deflate:
    """How permessage-deflate (RFC 7692) compresses.

    By default a connection that has compressed and decompressed holds 40 KB more for good; with larger windows it
    would be 300. Without ``keep_context`` it holds nothing between two messages, and small messages shrink less.

    Attributes:
        window_bits: Of both directions: 9 to 15. Each further bit doubles the memory.
        memory_level: Of the compressor: 1 to 9. Likewise.
        keep_context: What went before helps to compress what follows.
    """

    window_bits: int = 11
    memory_level: int = 4
    keep_context: bool = True

    def __post_init__(self) -> None:
        if not 9 <= self.window_bits <= 15:
            raise ValueError(f"Deflate(window_bits={self.window_bits!r}): give 9 to 15")
        if not 1 <= self.memory_level <= 9:
            raise ValueError(f"Deflate(memory_level={self.memory_level!r}): give 1 to 9")


@dataclass(frozen=True)
class Options:
    """What holds for one WebSocket connection, or for all of one path.

    Attributes:
        max_message_size: Bytes of a message from the peer, decompressed. A longer one ends the connection with 1009.
        compression: True is `Deflate` as it comes. The peer has to want it too.
        ping_interval: Seconds of silence after which the peer is asked whether it is there; None never asks.
        ping_timeout: Seconds for it to say anything then, or the connection is dropped; None waits for ever.
        close_timeout: Seconds for the whole closing handshake.
        write_timeout: Seconds without the peer taking anything, while something is being sent to it.
    """

    max_message_size: int = 16 * 1024 * 1024
    compression: bool | Deflate = False
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    close_timeout: float = 10.0
    write_timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.max_message_size < 1:
            raise ValueError(f"max_message_size={self.max_message_size!r}: give at least 1 byte")
        for name in ("ping_interval", "ping_timeout", "close_timeout", "write_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name}={value!r}: give more than 0 seconds")

    @property
    def deflate(self) -> Deflate | None:
        """How to compress, or None."""
        if isinstance(self.compression, Deflate):
            return self.compression
        return Deflate() if self.compression else None
