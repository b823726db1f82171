"""Sockets that wait in the hub: the whole interface of ``socket.socket``. Knows fds and waits; no protocol.

Facts this rests on:

- ``O_NONBLOCK`` belongs to the open file, which ``dup`` and ``fork`` share (fcntl(2)).
- A blocking ``send`` returns when the kernel has taken everything; programs rely on that and ignore the count.
- ``connect`` to a Unix socket whose backlog is full fails with EAGAIN, and nothing goes on in the background (connect(2)).

What this means for us: the fd is non-blocking for good, even after `GreenSocket.detach`, since green threads may use another
copy; the C object's own timeout is always 0.0, and ``gettimeout`` answers what the user set. A method first tries the C
call, which mostly succeeds, and looks at everything else after it has failed.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from socket import MSG_DONTWAIT, MSG_WAITALL, SO_ERROR, SO_LINGER, SOCK_STREAM, SOL_SOCKET
from typing import TYPE_CHECKING, Any, TypeVar, cast

from greenlet import getcurrent

from greenserve._originals import allocate_lock, base_socket, base_socketpair, monotonic, socket_type
from greenserve.core.hub import Hub, get_hub, thread_state
from greenserve.core.poller import Source
from greenserve.core.waiters import sleep, wait_readable, wait_writable
from greenserve.errors import ClosedWhileWaiting
from greenserve.net.resolver import resolve_address

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["GreenSocket", "fromfd", "socketpair"]

log = logging.getLogger("greenserve.net")

T = TypeVar("T")

# The methods as they are in C: they never wait, since the C object's timeout is 0.0.
_init = socket_type.__init__
_accept = base_socket._accept  # type: ignore[attr-defined]  # what socket.socket.accept calls
_connect_ex = base_socket.connect_ex
_bind = base_socket.bind
_get_family = base_socket.family.__get__  # type: ignore[attr-defined]  # a number, where socket.socket.family makes an enum
_get_type = base_socket.type.__get__  # type: ignore[attr-defined]
_gettimeout = base_socket.gettimeout
_settimeout = base_socket.settimeout
_recv = base_socket.recv
_recv_into = base_socket.recv_into
_recvfrom = base_socket.recvfrom
_recvfrom_into = base_socket.recvfrom_into
_recvmsg = base_socket.recvmsg
_recvmsg_into = base_socket.recvmsg_into
_send = base_socket.send
_sendto = base_socket.sendto
_sendmsg = base_socket.sendmsg

# After so many calls that did not have to wait a green thread looks at the clock, and gives way if the hub has
# not had its turn for so long: a peer that is always faster than us must not keep the others from running.
_BURST = 32
_TURN_SECONDS = 0.005

# How long to wait before a connect to a full Unix backlog is tried again, at first and at most.
_MIN_CONNECT_PAUSE = 0.001
_MAX_CONNECT_PAUSE = 0.05

# Linux transfers no more than this in one call; 32-bit systems have trouble with more.
_MAX_SENDFILE = 1 << 30
_FILE_BLOCK = 65536

# Files that the system can't send itself, such as some of special file systems.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW})

_LINGER_ZERO = struct.pack("ii", 1, 0)

_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EINTR})

_MAX_TIMEOUT = 2.0**32  # seconds: more than a century, and what every system's clocks can take

# Guards the step in which a socket meets a hub, or leaves all of them: it may be closed in one OS thread while
# another one is about to wait on it.
_meeting = allocate_lock()


def _renew_lock() -> None:
    global _meeting
    _meeting = allocate_lock()


os.register_at_fork(after_in_child=_renew_lock)


class GreenSocket(socket_type):
    """A ``socket.socket`` whose methods park the green thread where they would block. May switch, all that wait for a peer.

    It may be used from any OS thread, and waits in that thread's hub. `close` wakes whoever waits on it, in every hub, with
    `ClosedWhileWaiting`. Where the standard library's methods differ by the socket's mode (blocking, timeout,
    non-blocking), so do these; what is different is said in their docstrings.
    """

    # What belongs to a connection is in slots: 10,000 idle ones are to cost little.
    __slots__ = ("_burst", "_hub", "_left", "_others", "_source", "_timeout")

    _burst: int  # calls since the last look at the clock
    _hub: Hub | None  # the first hub that waited on it
    _source: Source | None  # its place in that hub's poller
    _others: dict[Hub, Source] | None  # the same for other OS threads' hubs
    _left: bool  # about to be closed or detached: no hub may meet it any more
    _timeout: float | None

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        _init(self, family, type, proto, fileno)
        self._timeout = _gettimeout(self)  # the default timeout, or 0.0 for SOCK_NONBLOCK
        _settimeout(self, 0.0)
        self._burst = 0
        self._hub = None
        self._source = None
        self._others = None
        self._left = False

    # Mode -----------------------------------------------------------------------------------------------------------

    def gettimeout(self) -> float | None:
        """The timeout of each operation, in seconds; None waits for ever, 0.0 never waits."""
        return self._timeout

    def settimeout(self, value: float | None, /) -> None:
        """Set the timeout of each operation, in seconds; None waits for ever, 0 never waits.

        Raises:
            ValueError: It is negative, or not a number.
            OverflowError: It is more than a century.
        """
        if value is not None:
            value = value + 0.0  # what is no number has no +
            if not value >= 0.0:
                raise ValueError(f"Timeout value out of range: {value!r}")
            if value > _MAX_TIMEOUT:
                raise OverflowError(f"timeout of {value!r} s is too large")
        self._timeout = value

    def setblocking(self, flag: bool, /) -> None:
        """``settimeout(None)`` if ``flag`` is true, else ``settimeout(0.0)``."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether operations wait."""
        return self._timeout != 0.0

    @property
    def timeout(self) -> float | None:
        """What `gettimeout` returns."""
        return self._timeout

    # Waiting --------------------------------------------------------------------------------------------------------

    def wait_readable(self, timeout: float | None = None) -> bool:
        """Park until there is something to read, the end of the stream included. False after ``timeout`` seconds. May switch.

        For who expects to wait: a ``recv`` that fails first costs as much as the wait.
        """
        return wait_readable(self._here(), timeout)

    def wait_writable(self, timeout: float | None = None) -> bool:
        """Park until something can be sent. False after ``timeout`` seconds. May switch."""
        return wait_writable(self._here(), timeout)

    def interrupt(self, exc: BaseException) -> None:
        """Raise ``exc`` in the green threads of this OS thread that wait on it now, if there are any."""
        hub = get_hub()
        source = self._source if self._hub is hub else (self._others or {}).get(hub)
        if source is not None:
            hub.interrupt(source, exc)

    def _here(self) -> Source:
        """Its place in the poller of the OS thread that runs."""
        try:
            hub = thread_state.hub
        except AttributeError:
            hub = get_hub()
        if self._hub is hub:
            return cast(Source, self._source)
        return self._meet(hub)

    def _meet(self, hub: Hub) -> Source:
        with _meeting:
            if self._left:
                raise ClosedWhileWaiting(errno.EBADF, "the socket is closed")
            others = self._others
            if others is not None and hub in others:
                return others[hub]
            fd = self.fileno()
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            source = hub.poller.source(fd)
            # A hub that is closed belongs to a thread that has ended, or to the parent of this process.
            if self._hub is None or self._hub.closed:
                self._source = source
                self._hub = hub  # last: whoever sees it in its own thread finds the source
            elif others is None:
                self._others = {hub: source}
            else:
                for gone in [other for other in others if other.closed]:
                    del others[gone]
                others[hub] = source
            return source

    def _leave(self) -> None:
        """Wake whoever waits: the fd is about to be closed or given away."""
        with _meeting:
            self._left = True
            places = [] if self._hub is None else [(self._hub, cast(Source, self._source))]
            if self._others is not None:
                places += self._others.items()
                self._others = None
        for hub, source in places:
            if not hub.closed:
                hub.close_source(source)

    def _deadline(self) -> float | None:
        return None if self._timeout is None else monotonic() + self._timeout

    def _when_readable(self, deadline: float | None, call: Callable[..., T], *args: Any) -> T:
        """Return ``call(self, *args)``, tried each time there is something to read. May switch."""
        while True:
            if not wait_readable(self._here(), None if deadline is None else deadline - monotonic()):
                raise TimeoutError("timed out")
            try:
                return call(self, *args)
            except BlockingIOError:
                continue  # another one was faster

    def _when_writable(self, deadline: float | None, call: Callable[..., T], *args: Any) -> T:
        """Return ``call(self, *args)``, tried each time something can be sent. May switch."""
        while True:
            if not wait_writable(self._here(), None if deadline is None else deadline - monotonic()):
                raise TimeoutError("timed out")
            try:
                return call(self, *args)
            except BlockingIOError:
                continue

    def _give_way(self) -> None:
        """Let others run if they have waited for long. Always before a call, so that nothing received can be lost."""
        self._burst = 0
        if self._timeout == 0.0:
            return
        hub = get_hub()
        if monotonic() - hub.now > _TURN_SECONDS and getcurrent() is not hub.greenlet:
            sleep(0)

    # Receiving ------------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return up to ``bufsize`` bytes; ``b""`` at the end of the stream. May switch."""
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        if flags & MSG_WAITALL and self._timeout is None:
            buffer = bytearray(bufsize)
            return bytes(buffer[: self._recv_all(memoryview(buffer), flags)])
        try:
            return _recv(self, bufsize, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
        return self._when_readable(self._deadline(), _recv, bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes into ``buffer``, its whole length for 0. Returns how many; 0 at the end. May switch."""
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        if flags & MSG_WAITALL and self._timeout is None:
            view = memoryview(buffer).cast("B")
            return self._recv_all(view[:nbytes] if nbytes else view, flags)
        try:
            return _recv_into(self, buffer, nbytes, flags)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
        return self._when_readable(self._deadline(), _recv_into, buffer, nbytes, flags)

    def _recv_all(self, view: memoryview, flags: int) -> int:
        # The kernel honours MSG_WAITALL only where it may block.
        flags &= ~MSG_WAITALL
        received = 0
        while received < len(view):
            count = self.recv_into(view[received:], 0, flags)
            received += count
            if not count or flags & socket.MSG_PEEK or _get_type(self) != SOCK_STREAM:
                break
        return received

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return up to ``bufsize`` bytes and the sender's address. May switch."""
        return self._receive(flags, _recvfrom, bufsize, flags)

    def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recv_into`, with the sender's address. May switch."""
        return self._receive(flags, _recvfrom_into, buffer, nbytes, flags)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """Return data, ancillary data, flags and the sender's address. May switch."""
        return self._receive(flags, _recvmsg, bufsize, ancbufsize, flags)

    def recvmsg_into(
        self, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As `recvmsg`, with the data in ``buffers``, one after the other. May switch."""
        # A list, since an iterator could be used for one try only.
        return self._receive(flags, _recvmsg_into, list(buffers), ancbufsize, flags)

    def _receive(self, flags: int, call: Callable[..., T], *args: Any) -> T:
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        try:
            return call(self, *args)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
        return self._when_readable(self._deadline(), call, *args)

    def accept(self) -> tuple[GreenSocket, Any]:
        """Return a socket for the next connection, in the default mode, and the peer's address. May switch."""
        fd, address = self._receive(0, _accept)
        return GreenSocket(_get_family(self), _get_type(self), self.proto, fd), address

    # Sending --------------------------------------------------------------------------------------------------------

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Send all of ``data``, and return its length in bytes. May switch.

        With a timeout it returns what was sent by the deadline, and without waiting what was sent at once.

        Raises:
            TimeoutError: Nothing was sent by the deadline.
        """
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        try:
            sent = _send(self, data, flags)
            if type(data) is bytes and sent == len(data):
                return sent
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
            sent = None
        return self._finish_sending([data], flags, sent, _send, data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Send all of ``data``. May switch.

        Raises:
            TimeoutError: It was not all sent by the deadline. How much was can't be told.
            BlockingIOError: It can't all be sent without waiting. How much was can't be told.
        """
        sent = self.send(data, flags)
        if type(data) is bytes and sent == len(data):
            return
        if sent < memoryview(data).nbytes:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            raise TimeoutError("timed out")

    def sendto(self, data: ReadableBuffer, flags_or_address: Any, address: Any = None, /) -> int:
        """Send ``data`` to the address that is the last argument; flags may stand before it. May switch.

        A host's name is looked up in the thread pool.
        """
        flags, address = (0, flags_or_address) if address is None else (flags_or_address, address)
        return self._transmit([data], flags, _sendto, data, flags, resolve_address(_get_family(self), address))

    def sendmsg(
        self, buffers: Iterable[ReadableBuffer], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Send ``buffers`` one after the other, with ``ancdata`` beside the first byte. Returns as `send` does. May switch."""
        # Lists, since an iterator could be used for one try only.
        buffers, ancdata = list(buffers), list(ancdata)
        address = resolve_address(_get_family(self), address)
        return self._transmit(buffers, flags, _sendmsg, buffers, ancdata, flags, address)

    def _transmit(self, buffers: list[ReadableBuffer], flags: int, call: Callable[..., int], *args: Any) -> int:
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        sent: int | None
        try:
            sent = call(self, *args)
        except BlockingIOError:
            if self._timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
            sent = None
        return self._finish_sending(buffers, flags, sent, call, *args)

    def _finish_sending(
        self, buffers: list[ReadableBuffer], flags: int, sent: int | None, call: Callable[..., int], *args: Any
    ) -> int:
        """Send what is left of ``buffers`` after ``sent`` bytes; None: ``call`` would have blocked. May switch."""
        if sent is not None and (self._timeout == 0.0 or flags & MSG_DONTWAIT):
            return sent
        deadline = self._deadline()
        if sent is None:
            sent = self._when_writable(deadline, call, *args)
        start = 0  # of this buffer, in bytes sent before it
        for data in buffers:
            view = memoryview(data).cast("B")
            end = start + len(view)
            # The system took only a part, so that its buffer is full: each round waits first, and others have their turn.
            while sent < end:
                try:
                    sent += self._when_writable(deadline, _send, view[sent - start :], flags)
                except TimeoutError:
                    return sent
            start = end
        return sent

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of the binary ``file`` from ``offset`` on, without ``count`` up to its end. May switch.

        The file is left behind the last byte sent. Its own reading blocks the OS thread, as all reading of regular files does.
        The timeout is that of each wait, not of the whole.

        Returns:
            How many bytes were sent: fewer than ``count`` if the file ended.

        Raises:
            ValueError: The file is in text mode, ``count`` is not positive, or the socket is non-blocking or no stream.
        """
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if not _get_type(self) & SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        if count is not None and not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count is not None and count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        sent = 0
        try:
            for part in self._send_file_parts(file, offset, count):
                sent += part
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def _send_file_parts(self, file: Any, offset: int, count: int | None) -> Iterator[int]:
        """Send, and yield how many bytes each step has sent. May switch."""
        fd = _regular_fd(file)
        sent = 0
        while fd is not None and (count is None or sent < count):
            try:
                part = self.sendfile_some(fd, offset + sent, _MAX_SENDFILE if count is None else count - sent)
            except OSError as exc:
                if sent or exc.errno not in _NO_SENDFILE:
                    raise
                break
            if not part:
                return
            sent += part
            yield part
        else:
            if fd is not None:
                return
        if offset:
            file.seek(offset)
        while block := file.read(_FILE_BLOCK if count is None else min(_FILE_BLOCK, count - sent)):
            self.sendall(block)
            sent += len(block)
            yield len(block)

    def sendfile_some(self, fd: int, offset: int, count: int) -> int:
        """Let the system send up to ``count`` bytes of the regular file ``fd``, as many as it takes at once. May switch.

        Returns:
            How many bytes were sent, at least one; 0 if the file ends at ``offset``.
        """
        self._burst += 1
        if self._burst > _BURST:
            self._give_way()
        count = min(count, _MAX_SENDFILE)
        try:
            return _sendfile(self, fd, offset, count)
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
        return self._when_writable(self._deadline(), _sendfile, fd, offset, count)

    # Connecting and ending ------------------------------------------------------------------------------------------

    def bind(self, address: Any, /) -> None:
        """Give the socket its own address. A host's name is looked up in the thread pool. May switch."""
        _bind(self, resolve_address(_get_family(self), address))

    def connect(self, address: Any, /) -> None:
        """Connect to ``address``. A host's name is looked up in the thread pool. May switch.

        Raises:
            TimeoutError: It has not come about within the timeout. It may yet.
            BlockingIOError: It goes on in the background, since the socket is non-blocking.
        """
        error = self._connect(address)
        if error == errno.EAGAIN and self._timeout:
            raise TimeoutError("timed out")
        if error:
            raise OSError(error, os.strerror(error))

    def connect_ex(self, address: Any, /) -> int:
        """As `connect`, with an errno returned, 0 for success; EAGAIN for a timeout. May switch."""
        return self._connect(address)

    def _connect(self, address: Any) -> int:
        address = resolve_address(_get_family(self), address)
        deadline = self._deadline()
        pause = _MIN_CONNECT_PAUSE
        error = _connect_ex(self, address)
        while self._timeout != 0.0:
            left = None if deadline is None else deadline - monotonic()
            if error in _IN_PROGRESS:
                if not wait_writable(self._here(), left):
                    return errno.EAGAIN
                error = self.getsockopt(SOL_SOCKET, SO_ERROR)
                if error:
                    return error
            elif error == errno.EAGAIN:
                # Nothing tells when the backlog of a Unix socket has room.
                if left is not None and left <= 0:
                    return error
                sleep(pause if left is None else min(pause, left))
                pause = min(pause * 2, _MAX_CONNECT_PAUSE)
            else:
                return error
            error = _connect_ex(self, address)
            if error == errno.EISCONN:
                return 0
        return error

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come. No error if it has already gone."""
        try:
            self.shutdown(socket.SHUT_WR)
        except OSError as exc:
            if exc.errno != errno.ENOTCONN:
                raise

    def abort(self) -> None:
        """Close at once and throw away what is still to be sent: a TCP peer sees a reset, no orderly end."""
        try:
            self.setsockopt(SOL_SOCKET, SO_LINGER, _LINGER_ZERO)
        except OSError as exc:
            log.debug("%r can't be reset: %s", self, exc)
        self.close()

    def detach(self) -> int:
        """Give the fd away, non-blocking as it is. Whoever waits on it gets `ClosedWhileWaiting`."""
        self._leave()
        return super().detach()

    def _real_close(self, *args: Any) -> None:
        # socket.socket.close() calls this when neither it nor a file of makefile() is in use any more.
        self._leave()
        super()._real_close(*args)  # type: ignore[misc]  # not in the public interface

    def makefile(  # type: ignore[override]  # as the base class, and one keyword more
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        reader: Callable[[GreenSocket], Any] | None = None,
    ) -> Any:
        """Return a file over the socket, as ``socket.socket.makefile`` does: it keeps the socket open until it is closed too.

        Args:
            reader: Called with the socket to make the file, for mode ``"rb"``. Its result does not keep the socket open.
        """
        if reader is None:
            return super().makefile(mode, buffering, encoding=encoding, errors=errors, newline=newline)  # type: ignore[call-overload]
        if mode not in {"rb", "br"}:
            raise ValueError(f'makefile({mode!r}, reader=...): a reader is for mode "rb"')
        return reader(self)


def _sendfile(sock: GreenSocket, fd: int, offset: int, count: int) -> int:
    return os.sendfile(sock.fileno(), fd, offset, count)


def _regular_fd(file: Any) -> int | None:
    """Return the fd of ``file`` if it is a regular file of the system's."""
    try:
        fd = file.fileno()
        return fd if stat.S_ISREG(os.fstat(fd).st_mode) else None
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return None


def socketpair(family: int | None = None, type: int = SOCK_STREAM, proto: int = 0) -> tuple[GreenSocket, GreenSocket]:
    """Return two sockets that are connected with each other; Unix sockets unless ``family`` says otherwise."""
    first, second = base_socketpair(socket.AF_UNIX if family is None else family, type, proto)
    return (
        GreenSocket(_get_family(first), _get_type(first), proto, first.detach()),
        GreenSocket(_get_family(second), _get_type(second), proto, second.detach()),
    )


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> GreenSocket:
    """Return a socket over a copy of ``fd``. The open file becomes non-blocking for all who share it."""
    copy = os.dup(fd)
    try:
        return GreenSocket(family, type, proto, copy)
    except BaseException:
        os.close(copy)
        raise
