"""The whole interface of ``socket.socket``, where a call that would block parks the green thread. Knows no protocol.

Facts this rests on:

- A blocking ``send`` returns when the kernel has taken everything; programs rely on that and ignore the count.
- ``connect`` to a Unix socket whose backlog is full fails with EAGAIN, and nothing goes on in the background
  (connect(2)).

A method first tries the C call, which mostly succeeds, and looks at everything else after it has failed.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct

# Plain numbers: masking the enums of the module socket costs a microsecond.
from _socket import AF_UNIX, MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, SO_ERROR, SO_LINGER, SOCK_STREAM, SOL_SOCKET
from collections.abc import Callable, Iterable, Iterator

from greenserve._log import get_logger
from greenserve._originals import base_socket, base_socketpair, monotonic
from greenserve._typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from greenserve.core.poller import READ
from greenserve.core.waiters import sleep
from greenserve.net.parking import BURST, ParkingSocket
from greenserve.net.resolver import resolve_address

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["GreenSocket", "fromfd", "socketpair"]

log = get_logger("greenserve.net")

T = TypeVar("T")

# The methods as they are in C: they never wait, since the C object's timeout is 0.0.
_accept = base_socket._accept  # type: ignore[attr-defined]  # what socket.socket.accept calls
_connect_ex = base_socket.connect_ex
_bind = base_socket.bind
_get_family = base_socket.family.__get__  # a number, where socket.socket.family makes an enum of it
_get_type = base_socket.type.__get__
_recv = base_socket.recv
_recv_into = base_socket.recv_into
_recvfrom = base_socket.recvfrom
_recvfrom_into = base_socket.recvfrom_into
_recvmsg = base_socket.recvmsg
_recvmsg_into = base_socket.recvmsg_into
_send = base_socket.send
_sendto = base_socket.sendto
_sendmsg = base_socket.sendmsg

# How long to wait before a connect to a full Unix backlog is tried again, in seconds, at first and at most.
_MIN_CONNECT_PAUSE = 0.001
_MAX_CONNECT_PAUSE = 0.05

_IN_PROGRESS = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EINTR})

# Linux sends no more than this of a file in one call; 32-bit systems have trouble with more.
_MAX_SENDFILE = 1 << 30
_FILE_BLOCK = 65536

# Files that the system can't send itself, such as some of special file systems.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOVERFLOW})

_LINGER_ZERO = struct.pack("ii", 1, 0)


class GreenSocket(ParkingSocket):
    """A ``socket.socket`` whose methods park the green thread where they would block.

    It may be used from any OS thread, and waits in that thread's hub. `close` wakes whoever waits on it, in every hub,
    with `ClosedWhileWaiting`. What the mode (blocking, timeout, non-blocking) means for a method is what it means in
    the standard library, unless its docstring says more.
    """

    __slots__ = ()

    # A subclass that speaks TLS says True: whoever has to know can ask without loading OpenSSL.
    is_tls: ClassVar[bool] = False

    # Receiving ------------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return up to ``bufsize`` bytes; ``b""`` at the end of the stream. May switch."""
        self._burst += 1
        if self._burst > BURST:
            self._give_way()
        if flags and flags & MSG_WAITALL and self._timeout is None:
            buffer = bytearray(bufsize)
            return bytes(buffer[: self._recv_all(memoryview(buffer), flags)])
        try:
            return _recv(self, bufsize, flags)
        except BlockingIOError:
            timeout = self._timeout
            if timeout == 0.0 or flags & MSG_DONTWAIT:
                raise
        deadline = None if timeout is None else monotonic() + timeout
        while True:  # `_when_readable`, written out: its way of passing arguments on is a twentieth of a round trip
            if not self._wait(READ, None if deadline is None else deadline - monotonic()):
                raise TimeoutError("timed out")
            try:
                return _recv(self, bufsize, flags)
            except BlockingIOError:
                continue

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes into ``buffer``, its whole length for 0. It returns 0 at the end. May switch."""
        self._burst += 1
        if self._burst > BURST:
            self._give_way()
        if flags and flags & MSG_WAITALL and self._timeout is None:
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
            if not count or flags & MSG_PEEK or _get_type(self) != SOCK_STREAM:
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
        if self._burst > BURST:
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
        if self._burst > BURST:
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
        """Send ``buffers`` one after the other, with ``ancdata`` beside the first byte. As `send`. May switch."""
        # Lists, since an iterator could be used for one try only.
        buffers, ancdata = list(buffers), list(ancdata)
        address = resolve_address(_get_family(self), address)
        return self._transmit(buffers, flags, _sendmsg, buffers, ancdata, flags, address)

    def _transmit(self, buffers: list[ReadableBuffer], flags: int, call: Callable[..., int], *args: Any) -> int:
        self._burst += 1
        if self._burst > BURST:
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
            # The system took only a part, so its buffer is full: each round waits first, and others have their turn.
            while sent < end:
                try:
                    sent += self._when_writable(deadline, _send, view[sent - start :], flags)
                except TimeoutError:
                    return sent
            start = end
        return sent

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of the binary ``file`` from ``offset`` on, without ``count`` up to its end. May switch.

        The file is left behind the last byte sent. Reading it blocks the OS thread, as all reading of regular files
        does. The timeout is that of each wait, not of the whole.

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
            for part in self.send_file_parts(file, offset, count):
                sent += part
        finally:
            if sent and hasattr(file, "seek"):
                file.seek(offset + sent)
        return sent

    def send_file_parts(self, file: Any, offset: int, count: int | None) -> Iterator[int]:
        """As `sendfile`, yielding how many bytes each step has sent. The file may stand anywhere then. May switch."""
        fd = _regular_fd(file)
        sent = 0
        if fd is not None:
            try:
                while count is None or sent < count:
                    part = self.sendfile_some(fd, offset + sent, _MAX_SENDFILE if count is None else count - sent)
                    if not part:
                        return
                    sent += part
                    yield part
                return
            except OSError as exc:
                if sent or exc.errno not in _NO_SENDFILE:
                    raise
        if offset:
            file.seek(offset)
        while block := file.read(_FILE_BLOCK if count is None else min(_FILE_BLOCK, count - sent)):
            self.sendall(block)
            sent += len(block)
            yield len(block)

    def sendfile_some(self, fd: int, offset: int, count: int) -> int:
        """Let the system send up to ``count`` bytes of the regular file ``fd``, what it takes at once. May switch.

        Returns:
            How many bytes were sent, at least one; 0 if the file ends at ``offset``.
        """
        self._burst += 1
        if self._burst > BURST:
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
                if not self.wait_writable(left):
                    return errno.EAGAIN
                error = self.getsockopt(SOL_SOCKET, SO_ERROR)
                if error:
                    return error
            elif error == errno.EAGAIN and _get_family(self) == AF_UNIX:
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
        self._real_close()  # even if a file of makefile() is in use

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        reader: Callable[[GreenSocket], Any] | None = None,
    ) -> Any:
        """Return a file over the socket, as ``socket.socket.makefile``. It keeps the socket open until it is closed.

        Args:
            reader: Called with the socket to make the file, for mode ``"rb"``. What it returns keeps nothing open.
        """
        if reader is None:
            return super().makefile(  # type: ignore[call-overload]  # an overload for each literal mode
                mode, buffering, encoding=encoding, errors=errors, newline=newline
            )
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
