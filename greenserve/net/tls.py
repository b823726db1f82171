"""TLS over green sockets: `wrap_ssl`, and the ``ssl.SSLSocket`` that parks the green thread where it would block.

Knows ``ssl`` and sockets; no HTTP. It is imported only where TLS is used, since loading OpenSSL takes its time.

Facts this rests on:

- ``SSLContext.wrap_socket`` makes what ``sslsocket_class`` says, by its class method ``_create``: that is how the
  standard library lets others subclass ``SSLSocket``. ``_create`` detaches the socket that it wraps.
- On a non-blocking socket OpenSSL says what it waits for by `ssl.SSLWantReadError` and `ssl.SSLWantWriteError`.
- A write that would have blocked must be repeated with the same bytes before anything else is written
  (SSL_write(3)): other bytes would be skipped, in silence if there are enough of them.
- An SSL object may be used by one OS thread at a time (openssl-threads(7)). Reading and writing at once breaks the
  connection within milliseconds.
- One record holds up to 16 KiB. What is left of it after a read waits inside of OpenSSL, where no poller sees it.
- Each side ends what it sends by ``close_notify``. A stream that ends without it may have been cut (RFC 8446, 6.1).
- OpenSSL reads, and fails for good, if data comes where it expects the peer's ``close_notify``: after its own was sent
  nothing can be relied on to be readable.

What this means for us: a guard around each call into OpenSSL, which is never held while parked; a lock for writers,
which is; and a connection that is told of as broken once a write was broken off.
"""

from __future__ import annotations

import errno
import os
import ssl
from socket import SHUT_RD, SO_ACCEPTCONN, SOL_SOCKET
from typing import TYPE_CHECKING, Any

from greenserve._originals import allocate_rlock, base_socket, socket_type
from greenserve.core.poller import READ, WRITE
from greenserve.errors import ClosedWhileWaiting
from greenserve.net.contexts import client_context, server_context, set_version
from greenserve.net.parking import BURST
from greenserve.net.sockets import GreenSocket
from greenserve.sync.locks import Lock

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["GreenSSLSocket", "wrap_ssl"]

_RECORD = 16384  # bytes of the largest record

# Bytes that are encrypted in one go: between two pieces others have their turn.
_PIECE = 65536


class GreenSSLSocket(ssl.SSLSocket, GreenSocket):  # type: ignore[misc]  # SSLSocket refuses what TLS has not
    """An ``ssl.SSLSocket`` whose methods park the green thread where they would block.

    `wrap_ssl` makes them; so does ``context.wrap_socket`` of a context whose ``sslsocket_class`` is this class. What is
    true of `GreenSocket` is true of it, as far as it makes sense under TLS: flags, ancillary data and datagrams do not.

    Attributes:
        truncated: The peer's stream has ended without its ``close_notify``: whoever sits in between may have cut it.
    """

    # SSLSocket before GreenSocket: its calls of super() find the green methods, and it may itself be a subclass of
    # GreenSocket, where the module ssl was first imported after the patch.

    __slots__ = ("_failure", "_guard", "_pid", "_ready", "_torn", "_writing", "truncated")

    _sslobj: Any  # OpenSSL's part; None before there is a connection, and once TLS has ended
    _guard: Any  # held during each call into OpenSSL; re-entrant, since a signal handler may close the socket
    _writing: Lock  # held by whoever sends, until the system has all of it
    _ready: bool  # the handshake is done
    _torn: bool  # a write was broken off, or the connection is aborted: nothing more can be sent
    _failure: OSError | None  # what the next read is to raise, since the last one had something to return
    _pid: int  # the process that made it
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    is_tls = True

    def __new__(cls, *args: Any, **kwargs: Any) -> GreenSSLSocket:
        # Here, since no __init__ of ours is called: SSLSocket has none.
        self = super().__new__(cls, *args, **kwargs)
        self.truncated = False
        self._guard = allocate_rlock()
        self._writing = Lock()
        self._ready = False
        self._torn = False
        self._failure = None
        self._pid = os.getpid()
        return self

    @classmethod
    def _create(cls, sock: Any, *args: Any, do_handshake_on_connect: bool = True, **kwargs: Any) -> GreenSSLSocket:
        self: GreenSSLSocket = super()._create(  # type: ignore[misc]  # see the facts above
            sock, *args, do_handshake_on_connect=False, **kwargs
        )
        os.set_blocking(self.fileno(), False)  # it has taken the fd of a socket that was detached, and so made blocking
        self.do_handshake_on_connect = do_handshake_on_connect
        if do_handshake_on_connect and self._sslobj is not None:
            try:
                if self._timeout == 0.0:
                    raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
                self.do_handshake()
            except BaseException:  # the standard library forgets those that are no Exception: a Timeout, a kill
                self.close()
                raise
        return self

    # Going through OpenSSL ------------------------------------------------------------------------------------------

    def _run(self, deadline: float | None, step: str, *args: Any) -> Any:
        """Return what the method ``step`` of the SSL object returns, tried each time it can go on. May switch.

        Raises:
            TimeoutError: The deadline is over.
            ssl.SSLWantReadError, ssl.SSLWantWriteError: The socket is non-blocking.
        """
        while True:
            try:
                with self._guard:
                    if self._sslobj is None:
                        raise ClosedWhileWaiting(errno.EBADF, "TLS has ended on this socket")
                    return getattr(self._sslobj, step)(*args)
            except ssl.SSLWantReadError:
                if self._timeout == 0.0:
                    raise
                direction = READ
            except ssl.SSLWantWriteError:
                if self._timeout == 0.0:
                    raise
                direction = WRITE
            self._park(direction, deadline)

    def _await_turn(self) -> None:
        """Wait for the turn to write. May switch."""
        if self._timeout == 0.0:
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "another green thread is writing")
        if not self._writing.acquire(timeout=self._timeout):
            raise TimeoutError("timed out")

    def do_handshake(self, block: bool = False) -> None:
        """Do the handshake, unless it is done. The first to read or write does it by itself. May switch.

        Args:
            block: Wait even if the socket is non-blocking.
        """
        self._check_connected()  # type: ignore[attr-defined]  # SSLSocket's own
        timeout = self._timeout
        if block and timeout == 0.0:
            self._timeout = None
        try:
            if not self._writing.acquire(False):
                self._await_turn()  # whoever comes meanwhile finds it done
            try:
                if not self._ready:
                    self._run(self._deadline(), "do_handshake")
                    self._ready = True
            finally:
                self._writing.release()
        finally:
            self._timeout = timeout

    # Receiving ------------------------------------------------------------------------------------------------------

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return up to ``buflen`` bytes, of one record; ``b""`` at the end of the stream. May switch."""
        if self._sslobj is None:
            return GreenSocket.recv(self, buflen, flags)
        data: bytes = self._read(flags, buflen)
        return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Put up to ``nbytes`` bytes into ``buffer``, its whole length for 0. 0 at the end of the stream. May switch.

        Of several records at once only where the first one is as long as a record can be.
        """
        if self._sslobj is None:
            return GreenSocket.recv_into(self, buffer, nbytes or 0, flags)
        count: int = self._read(flags, nbytes or 0, buffer)
        if count == _RECORD and self._timeout != 0.0:
            view = memoryview(buffer).cast("B")
            return self._read_on(view[:nbytes] if nbytes else view)
        return count

    def _read_on(self, view: memoryview) -> int:
        """Put what is here of the records behind a full one into the rest of ``view``. Never switches."""
        count = more = _RECORD
        try:
            while more == _RECORD and len(view) - count >= _RECORD:
                with self._guard:
                    if self._sslobj is None:
                        break
                    more = self._sslobj.read(0, view[count:])
                count += more
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as exc:
            self._failure = exc
        return count

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """As `recv`, or with a ``buffer`` as `recv_into`. May switch."""
        if self._sslobj is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        return self._read(0, len) if buffer is None else self._read(0, len, buffer)

    def _read(self, flags: int, *args: Any) -> Any:
        if flags:
            raise ValueError(f"flags don't go with TLS, and {flags:#x} was given")
        self._burst += 1
        if self._burst > BURST:
            self._give_way()
        if not self._ready:
            self.do_handshake()
        try:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return self._run(None if self._timeout is None else self._deadline(), "read", *args)
        except ssl.SSLEOFError:
            self.truncated = True
            if not self.suppress_ragged_eofs:
                raise
            return b"" if len(args) == 1 else 0

    def wait_readable(self, timeout: float | None = None) -> bool:
        """Park until something has come that `recv` may return. May switch, unless ``timeout`` is 0.

        A record that is not complete yet counts too: `recv` may have to wait for the rest.
        """
        return (self._sslobj is not None and self._sslobj.pending() > 0) or super().wait_readable(timeout)

    # Sending --------------------------------------------------------------------------------------------------------

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send all of ``data``, and return its length in bytes. May switch.

        A non-blocking socket sends what the system takes, in pieces of 64 KiB.

        Raises:
            TimeoutError: It was not all sent within the timeout.
            ssl.SSLError: An earlier call was broken off, by a timeout or an exception. The peer has a part of a record
                then, so that nothing can come behind it.
        """
        if self._sslobj is None:
            return GreenSocket.send(self, data, flags)
        if flags:
            raise ValueError(f"flags don't go with TLS, and {flags:#x} was given")
        if not self._ready:
            self.do_handshake()
        size = len(data) if type(data) is bytes else memoryview(data).nbytes
        if not size:
            return 0
        deadline = None if self._timeout is None else self._deadline()
        writing = self._writing
        if not writing.acquire(False):
            self._await_turn()
        try:
            if size <= _PIECE:
                return self._write(deadline, data)
            view = memoryview(data).cast("B")
            sent = 0
            while sent < size:
                try:
                    sent += self._write(deadline, view[sent : sent + _PIECE])
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if not sent:
                        raise
                    break
            return sent
        finally:
            writing.release()

    def _write(self, deadline: float | None, piece: ReadableBuffer) -> int:
        """Send all of ``piece``. The caller has the turn to write. May switch."""
        if self._torn:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "an earlier write was broken off in the middle of a record")
        self._burst += 1
        if self._burst > BURST:
            self._give_way()
        try:
            sent: int = self._run(deadline, "write", piece)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise  # non-blocking: the caller repeats it
        except BaseException:
            self._torn = True
            raise
        return sent

    def write(self, data: ReadableBuffer) -> int:
        """As `send`. May switch."""
        if self._sslobj is None:
            raise ValueError("Write on closed or unwrapped SSL socket.")
        return self.send(data)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        """Send all of ``data``. As `send`. May switch."""
        sent = self.send(data, flags)
        size = memoryview(data).nbytes
        while sent < size:
            sent += self.send(memoryview(data).cast("B")[sent:])

    sendfile = GreenSocket.sendfile

    def sendfile_some(self, fd: int, offset: int, count: int) -> int:
        """Read up to ``count`` bytes of the regular file ``fd`` and send them: the system can't encrypt. May switch."""
        if self._sslobj is None:
            return super().sendfile_some(fd, offset, count)
        return self.send(os.pread(fd, min(count, _PIECE), offset))

    # Accepting and ending -------------------------------------------------------------------------------------------

    def accept(self) -> tuple[GreenSSLSocket, Any]:
        """Return a TLS socket for the next connection, and the peer's address. May switch.

        The handshake is not done here, where a peer that is slow would keep all others waiting, but by the first call
        that reads or writes, or by `do_handshake`.

        Raises:
            ConnectionAbortedError: The peer has left before its connection could be accepted.
        """
        sock, address = super(ssl.SSLSocket, self).accept()
        try:
            sock.getpeername()
            conn = type(self)._create(
                sock,
                server_side=True,
                do_handshake_on_connect=False,
                suppress_ragged_eofs=self.suppress_ragged_eofs,
                context=self.context,
            )
        except OSError as exc:
            sock.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the peer has left") from exc
        if conn._sslobj is None:  # it was not connected any more: there is nothing to speak TLS with
            conn.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the peer has left")
        return conn, address

    def unwrap(self) -> GreenSSLSocket:
        """End TLS: send ``close_notify`` and wait for the peer's. May switch.

        Returns:
            The socket itself, for plain bytes from now on.
        """
        if self._sslobj is None:
            raise ValueError(f"No SSL wrapper around {self}")
        if not self._writing.acquire(False):
            self._await_turn()
        try:
            self._run(self._deadline(), "shutdown")
            self._sslobj = None
        finally:
            self._writing.release()
        return self

    def shutdown(self, how: int) -> None:
        """As ``socket.shutdown``. Before the end of what is sent, the peer is told so by ``close_notify``.

        What it sends from then on can't be decrypted any more: `recv` returns it as it comes, to be thrown away.
        """
        with self._guard:
            if how != SHUT_RD:
                self._say_goodbye()
                self._sslobj = None
            base_socket.shutdown(self, how)

    def abort(self) -> None:
        """Close at once, without ``close_notify``: the peer can't take what it got for everything."""
        self._torn = True
        super().abort()

    def detach(self) -> int:
        """Give the fd away, in the middle of TLS. Whoever waits on it gets `ClosedWhileWaiting`."""
        with self._guard:
            fd = super().detach()
            self._sslobj = None
        return fd

    def _real_close(self, *args: Any) -> None:
        if self._pid != os.getpid():
            # A fork's copy. The connection is the parent's, who alone knows what to send next.
            self._sslobj = None
            super(ssl.SSLSocket, self)._real_close(*args)
            return
        # All in one go: another OS thread must find either TLS there, or the socket closed.
        with self._guard:
            self._say_goodbye()
            super(ssl.SSLSocket, self)._real_close(*args)
            self._sslobj = None

    def _say_goodbye(self) -> None:
        """Send ``close_notify`` if there is something to end, and if it can be sent at once."""
        if self._sslobj is None or not self._ready or self._torn or self._writing.locked():
            return
        try:
            self._sslobj.shutdown()
        except OSError:
            pass  # it does not wait for the peer's answer; or the peer has gone


def wrap_ssl(
    sock: socket_type,
    ssl_context: ssl.SSLContext | None = None,
    *,
    keyfile: str | None = None,
    certfile: str | None = None,
    server_side: bool | None = None,
    cert_reqs: int | None = None,
    ssl_version: int | None = None,
    ca_certs: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
    server_hostname: str | None = None,
) -> GreenSSLSocket:
    """Return a TLS socket in place of ``sock``, which gives its fd away. May switch.

    A connected socket does its handshake at once, one that is not when it is connected. A listening socket's ``accept``
    returns TLS sockets that do theirs when they are first used.

    Args:
        sock: A stream socket, green or not: listening, connected, or not connected yet.
        ssl_context: All that follows up to ``ciphers`` in one; any context that is right for the side.
        keyfile: See `greenserve.net.contexts.server_context`, as for ``certfile``, ``ca_certs`` and ``ciphers``.
        server_side: By default, whether it listens.
        cert_reqs: Of a server, see `server_context`. A client checks the server's certificate, and that it is that of
            ``server_hostname``; ``ssl.CERT_NONE`` believes everybody, and ``ssl.CERT_REQUIRED`` can do without a name.
        ssl_version: One of ``ssl``'s ``PROTOCOL_`` constants.
        do_handshake_on_connect: False leaves the handshake to the first use.
        suppress_ragged_eofs: False raises `ssl.SSLEOFError` where the stream ends without ``close_notify``; else that
            is an end as any other, and ``truncated`` tells.
        server_hostname: Whom a client asks for (SNI), and whose the certificate must be.

    Raises:
        ssl.SSLCertVerificationError: The peer is not the one it should be.
        ssl.SSLError: There is no way to speak TLS with it.
        OSError: As the system says.
        ValueError: The arguments do not go together.
    """
    if server_side is None:
        server_side = bool(sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN))
    if ssl_context is None:
        ssl_context = _make_context(
            server_side, certfile, keyfile, ca_certs, cert_reqs, ciphers, server_hostname is not None
        )
        if ssl_version is not None:
            set_version(ssl_context, ssl_version)
    elif any(value is not None for value in (keyfile, certfile, cert_reqs, ssl_version, ca_certs, ciphers)):
        raise ValueError("wrap_ssl(sock, ssl_context): the context says all that, so set it there")
    elif server_side and ssl_context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("a context for clients can't be used on the server's side: ssl.PROTOCOL_TLS_SERVER")
    return GreenSSLSocket._create(
        sock,
        server_side=server_side,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
        server_hostname=server_hostname,
        context=ssl_context,
    )


def _make_context(
    server_side: bool,
    certfile: str | None,
    keyfile: str | None,
    ca_certs: str | None,
    cert_reqs: int | None,
    ciphers: str | None,
    has_hostname: bool,
) -> ssl.SSLContext:
    if server_side:
        if certfile is None:
            raise ValueError(
                "a server needs a certificate: wrap_ssl(sock, ssl_context), or wrap_ssl(sock, certfile=...)"
            )
        return server_context(certfile, keyfile, ca_certs=ca_certs, cert_reqs=cert_reqs, ciphers=ciphers)
    if cert_reqs is None and not has_hostname:
        raise ValueError(
            "whose certificate to expect? wrap_ssl(sock, server_hostname='example.org'), "
            "or cert_reqs=ssl.CERT_NONE to believe everybody"
        )
    return client_context(
        certfile, keyfile, ca_certs=ca_certs, cert_reqs=cert_reqs, ciphers=ciphers, check_hostname=has_hostname
    )
