"""What the WebSocket tests share: two ends joined by a socketpair, and a peer that says exactly what it is told to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import greenserve
from greenserve.net import socketpair
from greenserve.websocket import Options, WebSocket
from greenserve.websocket.codec import server_codec
from tests.wsgi.raw import Client, Connected, get

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FINAL = 0x80

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


def upgrade(path: str = "/", *fields: str) -> bytes:
    return get(path, *UPGRADE, *fields)


def frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, mask: bytes | None = b"\1\2\3\4", wide: bool = False
) -> bytes:
    """One frame as a client sends it, or, with no ``mask``, as a server does. Written out from RFC 6455 section 5.2.

    A ``wide`` one has its length in more bytes than it needs.
    """
    masked = 0 if mask is None else 0x80
    size = len(payload)
    head = bytes([(FINAL if final else 0) | opcode])
    if size < 126 and not wide:
        head += bytes([masked | size])
    elif size < 65536:
        head += struct.pack("!BH", masked | 126, size)
    else:
        head += struct.pack("!BQ", masked | 127, size)
    if mask is None:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


class Peer(Connected):
    """A client of a few bytes: sends what it is given, and reads frames one by one."""

    def read_frame(self) -> tuple[int, bytes]:
        """The first byte and the payload of the next frame. Raises EOFError at the end."""
        head = self.file.read(2)
        if len(head) < 2:
            raise EOFError("the connection has ended")
        size = head[1]
        assert size < 128, "a server does not mask"
        if size == 126:
            (size,) = struct.unpack("!H", self.file.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.file.read(8))
        return head[0], self.file.read(size)

    def read_close(self) -> tuple[int, str]:
        """Read frames up to the close frame; its code and reason."""
        while True:
            first, payload = self.read_frame()
            if first == FINAL | CLOSE:
                return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


@contextmanager
def joined(**options) -> Iterator[tuple[WebSocket, Peer]]:
    """A server's end and a peer, behind the handshake."""
    ours, theirs = socketpair()
    settings = Options(**options)
    ws = WebSocket(ours, server_codec(settings.max_message_size, [], None), settings, path="/test")
    peer = Peer(theirs)
    try:
        yield ws, peer
    finally:
        peer.close()
        ws.abort()


class RawPeer(Peer):
    """A `Peer` that has done its handshake with a server in this process."""

    def __init__(self, client: Client, path: str = "/", *fields: str, early: bytes = b"") -> None:
        self.sock, self.file = client.sock, client.file
        client.send(upgrade(path, *fields) + early)
        self.status, self.fields = client.read_head()


def in_green(function, *args):
    """Run it in a green thread, and let it get as far as it can."""
    thread = greenserve.spawn(function, *args)
    greenserve.sleep(0)
    return thread
