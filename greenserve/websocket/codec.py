"""WebSocket frames: bytes in, messages out, and back. Wholly about the package ``websockets``; knows no sockets.

Source: RFC 6455, and RFC 7692 for compression.

Facts about ``websockets``' protocol objects:

- They parse all that they are given in one go, and answer pings and close frames by themselves: what is to be sent is
  in ``data_to_send()``, with an empty string where the sending side is to be ended.
- Their parser is a generator that refers to them, and they to it: only the collector would free a connection's memory.
- The size of a message is limited before and after decompression. The number of its fragments is not.

What this means for us: we hand over what came in slices, so that neither a lot of tiny frames nor a little that
decompresses to a lot is done at once; and fragments are put together as they come.

Most of what comes to a server is one short message, whole, and most of what it sends is a message of its own. Without
compression these two go past the package, which takes three times as long for them. That needs to know whether the
package is in the middle of a frame: it is not if the frames that it has told of are as long, written in the shortest
way, as all that it was given.
"""

from __future__ import annotations

import codecs
import io
import logging
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidURI, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import CloseCode, Frame, Opcode
from websockets.frames import apply_mask as _apply_mask  # type: ignore[attr-defined]  # the one in C, if there is one
from websockets.headers import build_extension, parse_extension
from websockets.http11 import Response
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from greenserve.errors import HandshakeError
from greenserve.websocket.options import Deflate

__all__ = ["ClientHandshake", "Codec", "agreed_deflate", "client_codec", "negotiate", "server_codec"]

Message = str | bytes
Data = bytes | bytearray | memoryview

# How much is parsed in one go: what a few milliseconds are enough for if it is all tiny frames, and if it is
# compressed, what does not decompress to more than a few MB.
_SLICE = 16384
_DEFLATED_SLICE = 4096

# The first byte of a frame that is a message by itself; the longest payload whose length is in the second byte; and
# the length of a client's head before it: these two bytes and the mask.
_WHOLE_TEXT = 0x81
_WHOLE_BINARY = 0x82
_MAX_SHORT = 125
_SHORT_HEAD = 6

_TEXT = Opcode.TEXT
_BINARY = Opcode.BINARY
_CONT = Opcode.CONT
_OPEN = State.OPEN


class _QuietLogger(logging.LoggerAdapter):  # type: ignore[type-arg]  # no class to index before Python 3.11
    """What the package says of each connection at INFO is of interest to whoever debugs."""

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args, **kwargs)


_log = _QuietLogger(logging.getLogger("greenserve.websocket"), {})


class _CloseBetweenFragments(Protocol):
    """Takes a close frame in the middle of a message as any other: control frames may come there (RFC 6455, 5.4)."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class _ServerProtocol(_CloseBetweenFragments, ServerProtocol):
    pass


class _ClientProtocol(_CloseBetweenFragments, ClientProtocol):
    pass


class _Fragments:
    """A message that comes in parts. However many they are, it takes no more memory than their bytes."""

    __slots__ = ("_binary", "_decoder", "_text")

    def __init__(self, is_text: bool) -> None:
        # Decoded part by part: a text that is no UTF-8 is refused when that shows, not at its end.
        self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        self._text = io.StringIO()
        self._binary = bytearray()

    def add(self, data: Data, final: bool) -> None:
        if self._decoder is None:
            self._binary += data
        else:
            self._text.write(self._decoder.decode(bytes(data), final))

    def message(self) -> Message:
        return bytes(self._binary) if self._decoder is None else self._text.getvalue()


class Codec:
    """One end of a connection after its handshake.

    Not for several OS threads at once. Nothing here switches.

    Attributes:
        messages: What came whole and has not been taken yet.
        replies: Bytes to be sent, in answer to what came.
        ends: The sending side is to be ended behind them.
        eof: The peer's stream has ended.
    """

    __slots__ = (
        "_failed",
        "_fragments",
        "_is_plain",
        "_owed",
        "_position",
        "_protocol",
        "_slice",
        "_unparsed",
        "ends",
        "eof",
        "messages",
        "replies",
    )

    def __init__(self, protocol: Protocol, is_plain: bool = False) -> None:
        self._protocol = protocol
        self._slice = _DEFLATED_SLICE if protocol.extensions else _SLICE
        self._unparsed = b""
        self._position = 0
        self._fragments: _Fragments | None = None
        self._failed = False
        self._is_plain = is_plain  # a server's, without compression: short messages go past the protocol
        self._owed = 0  # bytes that the protocol was given, less those of the frames that it has told of
        self.messages: deque[Message] = deque()
        self.replies = b""
        self.ends = False
        self.eof = False
        self._collect()

    # What it is at ------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._protocol.state is _OPEN

    @property
    def is_over(self) -> bool:
        """Whether no message can come any more, beside those that have."""
        protocol = self._protocol
        return self.eof or self._failed or protocol.close_rcvd is not None or protocol.parser_exc is not None

    @property
    def is_clean(self) -> bool:
        """Whether both sides have said that they close."""
        return self._protocol.close_rcvd is not None and self._protocol.close_sent is not None

    @property
    def has_unparsed(self) -> bool:
        """Whether bytes wait for `parse`."""
        return self._position < len(self._unparsed)

    @property
    def subprotocol(self) -> str | None:
        """What both sides have agreed on."""
        return self._protocol.subprotocol

    def close_details(self) -> tuple[int, str]:
        """Why it has ended: what we had to complain of, else what the peer has said; 1006 if it has said nothing."""
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        has_complained = self._failed or self._protocol.parser_exc is not None
        if has_complained and sent is not None:
            return int(sent.code), sent.reason
        if received is not None:
            return int(received.code), received.reason
        return int(CloseCode.ABNORMAL_CLOSURE), ""

    # Receiving ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take in what came from the peer, ``b""`` at its end. All that came before must have been parsed."""
        if self.eof:
            return
        if data:
            if self._owed or not self._is_plain or not self._take_short(data):
                self._unparsed, self._position = data, 0
                self.parse()
        else:
            self.eof = True
            self._protocol.receive_eof()
            self._collect()

    def _take_short(self, data: bytes) -> bool:
        """Take in a message that is short, whole, uncompressed and right. False, with nothing done, if it is not."""
        size = len(data) - _SHORT_HEAD
        if not 0 <= size <= _MAX_SHORT or data[1] != 0x80 | size or self._fragments is not None or not self.is_open:
            return False
        first = data[0]
        if first != _WHOLE_TEXT and first != _WHOLE_BINARY:
            return False
        payload = _apply_mask(data[_SHORT_HEAD:], data[2:_SHORT_HEAD])
        try:
            self.messages.append(str(payload, "utf-8") if first == _WHOLE_TEXT else bytes(payload))
        except UnicodeDecodeError:
            return False
        return True

    def parse(self) -> None:
        """Parse the next slice of what came."""
        start, end = self._position, self._position + self._slice
        data = self._unparsed
        if end >= len(data):
            self._unparsed, self._position = b"", 0
        else:
            self._position = end
        piece = data if start == 0 and end >= len(data) else data[start:end]
        self._owed += len(piece)
        self._protocol.receive_data(piece)
        self._collect()

    def _collect(self) -> None:
        protocol = self._protocol
        events = protocol.events_received()
        if events and not self._failed:
            try:
                for event in events:
                    if isinstance(event, Frame):
                        self._take(event)
            except UnicodeDecodeError:
                self._fragments = None
                self._failed = True
                protocol.fail(CloseCode.INVALID_DATA, "a text message must be UTF-8")
        for data in protocol.data_to_send():
            if data:
                self.replies += data
            else:
                self.ends = True

    def _take(self, frame: Frame) -> None:
        opcode, data = frame.opcode, frame.data
        self._owed -= _size_from_client(len(data))
        if opcode is _CONT:
            fragments = self._fragments
            assert fragments is not None, "a continuation of nothing, which the protocol refuses"
            fragments.add(data, frame.fin)
            if frame.fin:
                self._fragments = None
                self.messages.append(fragments.message())
        elif opcode is _TEXT or opcode is _BINARY:
            if frame.fin:
                self.messages.append(str(data, "utf-8") if opcode is _TEXT else bytes(data))
            else:
                self._fragments = _Fragments(opcode is _TEXT)
                self._fragments.add(data, False)

    def release(self) -> None:
        """Nothing more is read or sent: let the memory go with the last reference."""
        self.eof = True
        self._unparsed, self._position = b"", 0
        self._fragments = None
        self._protocol.parser.close()

    # Sending ------------------------------------------------------------------------------------------------------

    def take_replies(self) -> bytes:
        """Return ``replies``, for the caller to send."""
        replies, self.replies = self.replies, b""
        return replies

    def message(self, message: str | Data, first: bool = True, final: bool = True) -> bytes:
        """Return the frame of a message, or of one of its parts. The connection must be open.

        Raises:
            UnicodeEncodeError: It has half of a surrogate pair.
        """
        protocol = self._protocol
        data: Data = message.encode() if isinstance(message, str) else message
        if self._is_plain and first and final and type(data) is bytes:
            return _server_head(_WHOLE_TEXT if isinstance(message, str) else _WHOLE_BINARY, len(data)) + data
        if not first:
            protocol.send_continuation(data, final)
        elif isinstance(message, str):
            protocol.send_text(data, final)
        else:
            protocol.send_binary(data, final)
        return b"".join(protocol.data_to_send())

    def ping(self, data: Data) -> bytes:
        """Return a ping's frame. The connection must be open."""
        self._protocol.send_ping(data)
        return b"".join(self._protocol.data_to_send())

    def close(self, code: int, reason: str) -> bytes:
        """Return a close frame. The connection must be open, and is not from then on."""
        self._protocol.send_close(code, reason)
        return b"".join(self._protocol.data_to_send())


def _size_from_client(size: int) -> int:
    """The length of a client's frame whose payload is ``size`` bytes, written in the shortest way."""
    return size + (_SHORT_HEAD if size <= _MAX_SHORT else 8 if size < 1 << 16 else 14)


def _server_head(first: int, size: int) -> bytes:
    """The head of a server's frame."""
    if size <= _MAX_SHORT:
        return bytes((first, size))
    return struct.pack("!BBH", first, 126, size) if size < 1 << 16 else struct.pack("!BBQ", first, 127, size)


# Handshakes ---------------------------------------------------------------------------------------------------------


def negotiate(offered: str, deflate: Deflate) -> tuple[str | None, list[Extension]]:
    """Return what to answer to a client's ``Sec-WebSocket-Extensions``, None for nothing, and what that means.

    Raises:
        ValueError: It is malformed.
    """
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=not deflate.keep_context,
        client_no_context_takeover=not deflate.keep_context,
        server_max_window_bits=deflate.window_bits,
        client_max_window_bits=deflate.window_bits,
        compress_settings={"memLevel": deflate.memory_level},
    )
    try:
        offers = parse_extension(offered.lower())  # as eventlet's server, and nothing that we know has capitals
    except InvalidHandshake as exc:
        raise ValueError(str(exc)) from exc
    for name, parameters in offers:
        if name == factory.name:
            try:
                answer, extension = factory.process_request_params(parameters, [])
            except (NegotiationError, ValueError):  # the latter from zlib, for a window that it can't make
                continue  # the client may have offered it with other parameters too
            return build_extension([(name, answer)]), [extension]
    return None, []


def server_codec(max_message_size: int, extensions: list[Extension], subprotocol: str | None) -> Codec:
    """The server's end of a connection whose handshake is done."""
    protocol = _ServerProtocol(state=_OPEN, max_size=max_message_size, logger=_log)
    protocol.extensions = extensions
    protocol.subprotocol = None if subprotocol is None else Subprotocol(subprotocol)
    return Codec(protocol, is_plain=not extensions and max_message_size >= _MAX_SHORT)


def client_codec(max_message_size: int, extensions: list[Extension], subprotocol: str | None) -> Codec:
    """The client's end of a connection whose handshake somebody else has done."""
    protocol = _ClientProtocol(parse_uri("ws://localhost/"), state=_OPEN, max_size=max_message_size, logger=_log)
    protocol.extensions = extensions
    protocol.subprotocol = None if subprotocol is None else Subprotocol(subprotocol)
    return Codec(protocol)


def agreed_deflate(parameters: Mapping[str, Any], is_client: bool) -> Extension:
    """permessage-deflate as somebody else has negotiated it: RFC 7692's parameters, where each that is missing is off.

    Raises:
        ValueError: A window has not 8 to 15 bits.
    """
    ours, theirs = ("client", "server") if is_client else ("server", "client")
    bits = [int(parameters.get(f"{side}_max_window_bits") or 15) for side in (theirs, ours)]
    if not all(8 <= each <= 15 for each in bits):
        raise ValueError(f"permessage-deflate with windows of {bits} bits: RFC 7692 has 8 to 15")
    return PerMessageDeflate(
        bool(parameters.get(f"{theirs}_no_context_takeover")),
        bool(parameters.get(f"{ours}_no_context_takeover")),
        bits[0],
        max(9, bits[1]),  # what zlib can make: the peer's 8 bits would do for none of ours
    )


class _ClientDeflate(ClientPerMessageDeflateFactory):
    """Lets a server name our window, as browsers do, and takes a smaller one where ours is: that is always allowed."""

    def __init__(self, deflate: Deflate) -> None:
        super().__init__(
            server_no_context_takeover=not deflate.keep_context,
            client_no_context_takeover=not deflate.keep_context,
            server_max_window_bits=deflate.window_bits,
            client_max_window_bits=True,
            compress_settings={"memLevel": deflate.memory_level},
        )
        self._deflate = deflate

    def process_response_params(
        self, params: Sequence[tuple[str, str | None]], accepted_extensions: Sequence[Extension]
    ) -> PerMessageDeflate:
        agreed = super().process_response_params(params, accepted_extensions)
        return PerMessageDeflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            min(agreed.local_max_window_bits, self._deflate.window_bits),
            agreed.compress_settings,
        )


class ClientHandshake:
    """The client's side of a handshake: what to send, and what comes of the answer.

    Attributes:
        host, port, is_secure, resource: What the URL says.

    Raises:
        ValueError: The URL is none of a WebSocket.
    """

    def __init__(
        self,
        url: str,
        *,
        origin: str | None,
        subprotocols: list[str],
        headers: Mapping[str, str],
        deflate: Deflate | None,
        max_message_size: int,
    ) -> None:
        try:
            uri = parse_uri(url)
        except InvalidURI as exc:
            raise ValueError(f"connect({url!r}): give a URL such as 'wss://example.org/path'") from exc
        self.host, self.port, self.is_secure, self.resource = uri.host, uri.port, uri.secure, uri.resource_name
        options: dict[str, Any] = {}
        if deflate is not None:
            options["extensions"] = [_ClientDeflate(deflate)]
        if subprotocols:
            options["subprotocols"] = subprotocols
        if origin is not None:
            options["origin"] = origin
        self._protocol = _ClientProtocol(uri, max_size=max_message_size, logger=_log, **options)
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self.request = b"".join(self._protocol.data_to_send())

    def receive(self, data: bytes) -> Codec | None:
        """Take in a part of the answer, ``b""`` at its end. Returns the codec of a connection that has come about.

        Raises:
            HandshakeError: None has.
        """
        protocol = self._protocol
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise self._error(protocol.handshake_exc)
        return None if protocol.state is State.CONNECTING else Codec(protocol)

    def _error(self, exc: Exception) -> HandshakeError:
        answers = [event for event in self._protocol.events_received() if isinstance(event, Response)]
        status = answers[0].status_code if answers else None
        error = HandshakeError(f"no WebSocket at {self.host}:{self.port}{self.resource}: {exc}", status)
        error.__cause__ = exc
        return error
