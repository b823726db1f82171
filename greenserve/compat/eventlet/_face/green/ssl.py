"""``eventlet.green.ssl``: the module ssl, cooperative, with the ``wrap_socket`` that Python no longer has."""

from __future__ import annotations

import ssl as _ssl
from typing import Any

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties
from greenserve.net.tls import GreenSSLSocket, wrap_ssl

__patched__ = [
    "SSLContext",
    "SSLSocket",
    "_create_default_https_context",
    "create_default_context",
    "sslwrap_simple",
    "wrap_socket",
]

_copy = monkey.import_patched("ssl")
_copy.SSLSocket = GreenSSLSocket  # type: ignore[attr-defined]  # whatever its names are
slurp_properties(_copy, globals(), srckeys=dir(_copy))

SSLSocket = GreenSSLSocket
GreenSSLContext = _copy.SSLContext


def wrap_socket(
    sock: Any,
    keyfile: str | None = None,
    certfile: str | None = None,
    server_side: bool = False,
    cert_reqs: int = _ssl.CERT_NONE,
    ssl_version: int | None = None,
    ca_certs: str | None = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
    ssl_context: _ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> GreenSSLSocket:
    """Return ``sock``, which gives its fd away, as a TLS socket. May switch.

    As ``ssl.wrap_socket`` was, a client believes everybody unless ``cert_reqs`` says otherwise.
    """
    if ssl_context is not None:
        return wrap_ssl(
            sock,
            ssl_context,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
        )
    return wrap_ssl(
        sock,
        keyfile=keyfile,
        certfile=certfile,
        server_side=server_side,
        cert_reqs=cert_reqs,
        ssl_version=ssl_version,
        ca_certs=ca_certs,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
        ciphers=ciphers,
        server_hostname=server_hostname,
    )


def sslwrap_simple(sock: Any, keyfile: str | None = None, certfile: str | None = None) -> GreenSSLSocket:
    """`wrap_socket` for a client."""
    return wrap_socket(sock, keyfile, certfile)
