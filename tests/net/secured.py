"""A client and a server that have agreed on TLS."""

from __future__ import annotations

import ssl
from typing import Any

from greenserve import spawn
from greenserve.net import GreenSocket
from greenserve.net.tls import GreenSSLSocket, wrap_ssl
from tests.certificates import asking_context, serving_context


def wrap_pair(
    a: GreenSocket, b: GreenSocket, version: ssl.TLSVersion | None = None, **keywords: Any
) -> tuple[GreenSSLSocket, GreenSSLSocket]:
    """A client and its server over two connected sockets, after their handshake."""
    server = spawn(wrap_ssl, b, serving_context(version), server_side=True, **keywords)
    client = wrap_ssl(a, asking_context(version), server_hostname="localhost", **keywords)
    return client, server.wait()
