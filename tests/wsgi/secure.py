"""Clients that speak TLS with a server in this process, and some that don't quite."""

from __future__ import annotations

import ast
import contextlib
import re
import ssl
from collections.abc import Callable

import greenserve
from tests.certificates import asking_context
from tests.wsgi.raw import DEADLINE, Client, Running


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]


def show(environ, start_response):
    """The names and values of what environ says about TLS."""
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [repr({name: environ[name] for name in environ if re.match("SSL_|HTTPS$|wsgi.url_scheme", name)}).encode()]


def shown(answer):
    """What `show` has answered."""
    assert answer.code == 200
    return ast.literal_eval(answer.body.decode())


class TlsClient(Client):
    """A connection after its handshake."""

    def __init__(self, address, context: ssl.SSLContext | None = None) -> None:
        super().__init__(address)
        self.file.close()
        self.sock = greenserve.wrap_ssl(
            self.sock, context or asking_context(), server_hostname="localhost", suppress_ragged_eofs=False
        )
        self.file = self.sock.makefile("rb")


def connect(run: Running, context: ssl.SSLContext | None = None) -> TlsClient:
    client = TlsClient(run.address, context)
    run.clients.append(client)
    return client


def names_of(client: TlsClient) -> list[str]:
    return [name for _, name in client.sock.getpeercert()["subjectAltName"]]


def client_hello() -> bytes:
    """The first record of a handshake."""
    sent, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        asking_context().wrap_bio(incoming, sent, server_hostname="localhost").do_handshake()
    return sent.read()


def sending(client: Client, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


def wait_until(condition: Callable[[], object]) -> None:
    """Let others run until ``condition()`` is true."""
    with greenserve.Timeout(DEADLINE):
        while not condition():
            greenserve.sleep(0)
