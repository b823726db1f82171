"""One end of a WebSocket connection: messages over a green socket. Knows neither WSGI nor how it came about.

Whoever wants a message reads for it: while nobody does, nothing more is read, and TCP tells the peer to wait. Only now
and then is a look taken for an app that does not receive, since pings want answers and a peer may close.

Frames are made in the order in which they are sent, each whole: by whoever holds the turn to write. The answer to a
ping, or to a close frame, is sent by whoever read it, or, if somebody is writing, by that one behind its own frame.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from greenserve._originals import allocate_rlock, monotonic
from greenserve.core.greenthreads import spawn_n
from greenserve.core.hub import get_hub
from greenserve.core.waiters import sleep
from greenserve.errors import ConnectionClosed
from greenserve.net.parking import BURST
from greenserve.net.readers import SocketReader
from greenserve.net.sockets import GreenSocket
from greenserve.sync.locks import Lock
from greenserve.websocket.heartbeat import unwatch, watch
from greenserve.websocket.options import Options
from greenserve.wsgi.progress import bytes_not_taken

if TYPE_CHECKING:
    from greenserve.websocket.codec import Codec

__all__ = ["WebSocket"]

log = logging.getLogger("greenserve.websocket")

_NEVER = float("inf")

_PIECE = 65536  # bytes sent before the write deadline is set anew

# So many bytes of answers to pings may wait behind a frame that is being sent. Then the peer's pings wait, too.
_MAX_REPLIES = 65536

# After so long without a turn for the others a green thread that finds one message after the other gives them one.
_TURN_SECONDS = 0.005

# RFC 6455 section 7.4 and the registry: what may stand in a close frame.
_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
_MAX_REASON = 123  # bytes
_MAX_PING = 125

GOING_AWAY = 1001
INTERNAL_ERROR = 1011


class WebSocket:
    """A WebSocket connection. `receive`, `send` and `close` may be called from any green thread, and any OS thread.

    Iterating over it gives the messages until the connection ends, in whatever way: ``close_code`` tells. As a context
    manager it closes at the end of the block.

    Attributes:
        socket: The green socket. Its timeout is that of `receive`.
        environ: The request's; empty on the client's side.
        path: That of the request.
        origin: What web page it comes from, if a browser has said so.
        protocol: The subprotocol that both sides have agreed on, or None.
        version: Of the protocol: 13.
    """

    __slots__ = (
        "__weakref__",
        "_burst",
        "_codec",
        "_finished",
        "_guard",
        "_heard",
        "_lost",
        "_message",
        "_not_taken",
        "_options",
        "_pinged_at",
        "_quiet_since",
        "_reader",
        "_reading",
        "_sends_soon",
        "_shut",
        "_write_deadline",
        "_writing",
        "environ",
        "origin",
        "path",
        "socket",
    )

    version = 13

    def __init__(
        self,
        sock: GreenSocket,
        codec: Codec,
        options: Options,
        unread: bytes = b"",
        *,
        environ: dict[str, Any] | None = None,
        path: str = "",
        origin: str | None = None,
    ) -> None:
        self.socket = sock
        self.environ = {} if environ is None else environ
        self.path = path
        self.origin = origin
        self._codec = codec
        self._options = options
        self._reader: SocketReader = sock.makefile("rb", reader=SocketReader)
        self._reader.buffer = unread
        self._guard = allocate_rlock()  # held during each step of the codec, which other OS threads may want too
        self._reading = Lock()  # held by whoever waits for the peer's bytes
        self._writing = Lock()  # held until the system has all of a frame
        self._message = Lock()  # held until the last frame of a message is on its way
        self._sends_soon = False  # a green thread is at what send_nowait was given
        self._burst = 0  # messages taken without a wait
        self._heard = True  # something has come since the last look
        self._quiet_since = 0.0
        self._pinged_at: float | None = None
        self._write_deadline = _NEVER
        self._not_taken = 0  # bytes that the peer had not acknowledged at the last look
        self._shut = False  # the sending side was ended
        self._lost: str | None = None  # why the connection was dropped
        self._finished = False  # the socket is closed, and by us
        waits = (options.ping_interval, options.ping_timeout, options.write_timeout)
        watch(self, min(wait for wait in waits if wait is not None))

    def begin(self, answer: bytes) -> None:
        """Send what comes before the first frame, and what is owed for what came with the handshake. May switch.

        Raises:
            ConnectionClosed: The peer has gone.
        """
        if answer:
            with self._writing:
                self._transmit(answer)
        self._flush()

    # What it is at --------------------------------------------------------------------------------------------------

    @property
    def protocol(self) -> str | None:
        """The subprotocol."""
        return self._codec.subprotocol

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more. Messages that came before may still be received."""
        return self._lost is not None or not self._codec.is_open

    @property
    def close_code(self) -> int | None:
        """Why it has ended, see `ConnectionClosed`; None before that."""
        return self._error().code if self._is_over() else None

    @property
    def close_reason(self) -> str | None:
        """The same in words."""
        return self._error().reason if self._is_over() else None

    def _is_over(self) -> bool:
        return self._lost is not None or self._codec.is_over

    def _error(self) -> ConnectionClosed:
        code, reason = self._codec.close_details()
        return ConnectionClosed(code, reason or (self._lost or ""))

    # Receiving ------------------------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message: text as ``str``, binary as ``bytes``. May switch.

        Args:
            timeout: Seconds to wait at most. By default the socket's timeout, which is None unless somebody sets it.

        Raises:
            ConnectionClosed: There is none any more.
            TimeoutError: None has come in time. Nothing is lost by that.
        """
        codec = self._codec
        self._burst += 1
        if self._burst > BURST:
            self._give_way()
        if codec.messages:
            try:
                return codec.messages.popleft()  # atomic: deque.popleft
            except IndexError:
                pass  # another OS thread was faster
        if timeout is None:
            timeout = self.socket.gettimeout()
        deadline = None if timeout is None else monotonic() + timeout
        if not self._reading.acquire(False) and not self._reading.acquire(timeout=timeout):
            raise TimeoutError(f"no message came within {timeout} s")
        try:
            while not codec.messages:
                if codec.has_unparsed:
                    sleep(0)
                    self._parse()
                elif self._is_over():
                    raise self._error()
                elif not self._read(deadline):
                    raise TimeoutError(f"no message came within {timeout} s")
            return codec.messages.popleft()
        finally:
            self._reading.release()

    def _read(self, deadline: float | None) -> bool:
        """Wait for bytes and take them in. False at the deadline. The caller has the turn to read. May switch."""
        try:
            if not self._reader.buffer:
                # Park first, then read: mostly there is nothing yet, and finding that out would cost more.
                if not self.socket.wait_readable(None if deadline is None else deadline - monotonic()):
                    return False
                self._burst = 0
            data = self._reader.read1()
        except OSError as exc:
            self._lose(str(exc))
            return True
        self._heard = True
        with self._guard:
            self._codec.receive(data)
        if self._codec.replies or self._codec.ends:
            self._flush()
        return True

    def _parse(self) -> None:
        with self._guard:
            self._codec.parse()
        if self._codec.replies or self._codec.ends:
            self._flush()

    def _give_way(self) -> None:
        self._burst = 0
        if monotonic() - get_hub().now > _TURN_SECONDS:
            sleep(0)

    def wait(self) -> str | bytes | None:
        """As `receive`, with None at the end of the connection. May switch."""
        try:
            return self.receive()
        except ConnectionClosed:
            return None

    def __iter__(self) -> Iterator[str | bytes]:
        return self

    def __next__(self) -> str | bytes:
        try:
            return self.receive()
        except ConnectionClosed:
            raise StopIteration from None

    # Sending --------------------------------------------------------------------------------------------------------

    def send(self, message: str | bytes | bytearray | memoryview | Iterable[str] | Iterable[bytes]) -> None:
        """Send a message: ``str`` as text, bytes as binary, an iterable of either in fragments. May switch.

        It returns when the system has taken all of it. Meanwhile other messages wait for their turn, so a message in
        fragments should not wait for long between them.

        Raises:
            ConnectionClosed: The connection has ended, or the peer took nothing for ``write_timeout`` seconds.
            TypeError: It is something else.
            ValueError: A text has half of a surrogate pair.
        """
        if not self._message.acquire(False):
            self._message.acquire()
        try:
            if isinstance(message, (str, bytes, bytearray, memoryview)):
                self._send_frame(message, True, True)
            elif isinstance(message, Iterable):
                self._send_fragments(message)
            else:
                raise TypeError(f"send({type(message).__name__}): give str, bytes, or an iterable of either")
        finally:
            self._message.release()

    def send_nowait(self, message: str | bytes) -> bool:
        """Have a message sent by a green thread of its own, for one that goes to many. Never switches.

        False, with nothing sent, if the connection has ended or the peer has still to take what was sent before: it is
        too slow, and a message to everybody must not wait for it, nor pile up.

        Raises:
            TypeError: It is something else.
        """
        if not isinstance(message, (str, bytes)):
            raise TypeError(f"send_nowait({type(message).__name__}): give str or bytes")
        if self._sends_soon or self.closed or self._message.locked():
            return False
        self._sends_soon = True
        spawn_n(self._send_soon, message)
        return True

    def _send_soon(self, message: str | bytes) -> None:
        try:
            self.send(message)
        except ConnectionClosed as exc:
            log.debug("%s: %s", self.path, exc)
        finally:
            self._sends_soon = False

    def _send_fragments(self, parts: Iterable[Any]) -> None:
        kind: Any = None
        pending: Any = None
        first = True
        try:
            for part in parts:
                if pending is not None:
                    self._send_frame(pending, first, False)
                    first = False
                is_text = isinstance(part, str)
                if not is_text and not isinstance(part, (bytes, bytearray, memoryview)):
                    raise TypeError(f"a fragment of type {type(part).__name__}: give str or bytes")
                if kind is not None and is_text is not kind:
                    raise TypeError("a message is text or binary: give all its fragments as str, or all as bytes")
                kind, pending = is_text, part
            if pending is None:
                raise ValueError("send() of no fragments at all: an empty message is '' or b''")
            self._send_frame(pending, first, True)
        except ConnectionClosed:
            raise
        except BaseException:
            if not first:
                # The peer has the beginning of a message that will never end.
                self._lose("a message was broken off between two fragments")
            raise

    def _send_frame(self, data: Any, first: bool, final: bool) -> None:
        writing = self._writing
        if not writing.acquire(False):
            writing.acquire()
        try:
            with self._guard:
                if self.closed:
                    raise self._error()
                frame = self._codec.message(data, first, final)
            self._transmit(frame)
        finally:
            writing.release()
            if self._codec.replies or self._codec.ends:
                self._flush()

    def ping(self, data: str | bytes = b"") -> None:
        """Ask the peer to answer, with up to 125 bytes that it is to send back. May switch.

        What it answers is noted, not returned: see ``ping_interval``.

        Raises:
            ConnectionClosed: The connection has ended.
            ValueError: It is longer than 125 bytes.
        """
        payload = data.encode() if isinstance(data, str) else bytes(data)
        if len(payload) > _MAX_PING:
            raise ValueError(f"ping() with {len(payload)} bytes: at most {_MAX_PING} are allowed")
        with self._writing:
            with self._guard:
                if self.closed:
                    raise self._error()
                frame = self._codec.ping(payload)
            self._transmit(frame)
        self._flush()

    def _flush(self) -> None:
        """Send what is owed to the peer, unless whoever is writing will do it. May switch."""
        codec = self._codec
        # Whoever writes calls this when it has let go: one of the two sees what the other has left.
        while (codec.replies or (codec.ends and not self._shut)) and self._lost is None:
            if not self._writing.acquire(False) and (
                len(codec.replies) < _MAX_REPLIES or not self._writing.acquire(timeout=self._options.write_timeout)
            ):
                return
            try:
                with self._guard:
                    replies = codec.take_replies()
                if replies:
                    self._transmit(replies)
                if codec.ends and not self._shut:
                    self._shut = True
                    self.socket.shutdown_write()
            except OSError as exc:
                self._lose(str(exc))
            finally:
                self._writing.release()

    def _transmit(self, data: bytes, timeout: float | None = None) -> None:
        """Send ``data``. The caller has the turn to write. May switch.

        Raises:
            ConnectionClosed: The peer has gone, or takes nothing.
        """
        timeout = self._options.write_timeout if timeout is None else timeout
        sock = self.socket
        try:
            self._write_deadline = monotonic() + timeout
            if len(data) <= _PIECE:
                sock.sendall(data)
            else:
                view = memoryview(data)
                for start in range(0, len(data), _PIECE):
                    self._write_deadline = monotonic() + timeout
                    sock.sendall(view[start : start + _PIECE])
        except OSError as exc:
            self._lose(str(exc))
            raise self._error() from exc
        except BaseException:
            # A Timeout, or a kill. Nobody knows how much was sent, so nothing can follow it.
            self._lose("a frame was broken off in the middle")
            raise
        finally:
            self._write_deadline = _NEVER

    # Ending ---------------------------------------------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection: say so, wait for the peer to agree, and close the socket. May switch.

        It takes ``close_timeout`` seconds at most. What was not received yet is dropped. Called again, or after the
        peer has closed, it only sees to it that the socket is closed.

        Raises:
            ValueError: ``code`` is none that may be sent (1000, 1001, 3000 to 4999, ...), or ``reason`` has more than
                123 bytes of UTF-8.
        """
        if code not in _CODES:
            raise ValueError(f"close({code!r}): give 1000 (normal), 1001 (going away), or one from 3000 to 4999")
        if len(reason.encode()) > _MAX_REASON:
            raise ValueError(f"close(reason={reason!r}): at most {_MAX_REASON} bytes of UTF-8 are allowed")
        if self._finished:
            return
        deadline = monotonic() + self._options.close_timeout
        try:
            if not self.closed:
                self._say_close(code, reason, deadline)
            self._drain(deadline)
        except OSError as exc:
            self._lose(str(exc))
        except BaseException:
            self.abort()
            raise
        self.socket.close()
        self._finish()

    def _say_close(self, code: int, reason: str, deadline: float) -> None:
        if not self._writing.acquire(timeout=self._options.close_timeout):
            self._lose("the peer took nothing, not even the end of what was being sent")
            return
        try:
            with self._guard:
                if self.closed:
                    return
                frame = self._codec.close(code, reason)
            self._transmit(frame, max(0.0, deadline - monotonic()))
        finally:
            self._writing.release()
        self._flush()

    def _drain(self, deadline: float) -> None:
        """Read up to the end of the peer's stream, which is to follow its close frame, and drop it. May switch."""
        # Another green thread that receives gets to know of the end by itself, and lets go then.
        if not self._reading.acquire(timeout=max(0.0, deadline - monotonic())):
            self._lose("the peer did not close in time")
            return
        codec = self._codec
        try:
            while self._lost is None and not codec.eof:
                codec.messages.clear()
                if codec.has_unparsed:
                    sleep(0)
                    self._parse()
                elif not self._read(deadline):
                    if not codec.is_clean:
                        self._lose("the peer did not close in time")
                    return
                if monotonic() > deadline:
                    self._lose("the peer went on sending")
            codec.messages.clear()
        finally:
            self._reading.release()

    def abort(self) -> None:
        """End the connection at once, without a word. Whoever waits for it gets `ConnectionClosed`."""
        self._lose("aborted")
        self._finish()

    def _finish(self) -> None:
        self._finished = True
        unwatch(self)
        with self._guard:
            self._codec.release()

    def _lose(self, why: str) -> None:
        """The connection is of no use any more."""
        if self._lost is None:
            self._lost = why
            log.debug("connection %s was dropped: %s", self.path, why)
        self.socket.abort()  # wakes whoever waits for it, in every OS thread

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, ConnectionClosed):
            self.close()
        elif issubclass(kind, Exception):
            self.close(INTERNAL_ERROR)
        else:
            self.abort()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<WebSocket {self.path} {state}>"

    # Now and then ---------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """See what is due: for the heartbeat. Never switches."""
        if self.socket.fileno() < 0:
            self._lose("its socket was closed")  # by the app, or by us
        if self._finished or self._lost is not None:
            unwatch(self)
            return
        if self._write_deadline < _NEVER:
            self._look_at_writing(now)
        codec = self._codec
        if self.closed or self._is_over():
            return  # whoever closes has a deadline of its own
        if codec.messages or codec.has_unparsed:
            # The app takes its time, and what the peer has answered may wait behind that.
            self._heard = True
        elif not self._reading.locked() and self.socket.wait_readable(0):
            spawn_n(self._read_for_nobody)
        self._look_at_silence(now)

    def _look_at_writing(self, now: float) -> None:
        count = bytes_not_taken(self.socket.fileno())
        if count < self._not_taken:
            # It takes what was sent slowly, but it does.
            self._write_deadline = max(self._write_deadline, now + self._options.write_timeout)
        self._not_taken = count
        if now >= self._write_deadline:
            self._lose(f"the peer took nothing for {self._options.write_timeout} s")

    def _look_at_silence(self, now: float) -> None:
        interval, timeout = self._options.ping_interval, self._options.ping_timeout
        if self._heard:
            self._heard = False
            self._quiet_since = now
            self._pinged_at = None
        elif interval is None:
            return
        elif self._pinged_at is None:
            if now - self._quiet_since >= interval:
                self._pinged_at = now
                spawn_n(self._ping_quietly)
        elif timeout is not None and now - self._pinged_at >= timeout and not self.socket.wait_readable(0):
            # Nor is there something that we have not come to read.
            self._lose(f"the peer did not answer a ping within {timeout} s")

    def _ping_quietly(self) -> None:
        # Somebody who is writing shows soon enough whether the peer is there.
        if not self.closed and not self._writing.locked():
            try:
                self.ping()
            except ConnectionClosed:
                pass  # whoever uses it next will see

    def _read_for_nobody(self) -> None:
        """Read once for an app that does not: pings want answers, and the peer may have closed. May switch."""
        if self._reading.acquire(False):
            try:
                if not self._codec.messages and not self._codec.has_unparsed and not self._is_over():
                    self._read(monotonic())
            finally:
                self._reading.release()
