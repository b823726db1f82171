"""``ssl.SSLContext`` objects from names of files. Knows no sockets.

Like `greenserve.net.tls` it is imported only where TLS is used.
"""

from __future__ import annotations

import ssl
from typing import Any

__all__ = ["client_context", "server_context", "set_version"]

# The old constants that stand for one version of TLS.
_ONE_VERSION = {
    "PROTOCOL_TLSv1": ssl.TLSVersion.TLSv1,
    "PROTOCOL_TLSv1_1": ssl.TLSVersion.TLSv1_1,
    "PROTOCOL_TLSv1_2": ssl.TLSVersion.TLSv1_2,
}
_ANY_VERSION = ("PROTOCOL_TLS", "PROTOCOL_TLS_CLIENT", "PROTOCOL_TLS_SERVER")


def server_context(
    certfile: str,
    keyfile: str | None = None,
    *,
    password: Any = None,
    ca_certs: str | None = None,
    cert_reqs: int | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """Return a context for servers: TLS 1.2 and 1.3, no renegotiation, no compression.

    Args:
        certfile: The certificate and those that vouch for it, in PEM.
        keyfile: The key, if it is not in ``certfile``.
        password: Of the key, or a function that returns it. Nobody is asked for it on the terminal.
        ca_certs: Whom to believe when a client shows a certificate, in PEM.
        cert_reqs: ``ssl.CERT_OPTIONAL`` or ``ssl.CERT_REQUIRED`` ask clients for one. By default the latter if there
            are ``ca_certs``, else nobody is asked.
        ciphers: The cipher suites of TLS 1.2, as ``openssl ciphers`` has them.

    Raises:
        OSError: A file can't be read, or (`ssl.SSLError`) does not hold what it should.
        ValueError: ``cert_reqs`` without ``ca_certs``, or the key has a password that was not given.
    """
    if cert_reqs and ca_certs is None:
        raise ValueError("to check clients' certificates, say by ca_certs whom to believe")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(certfile, keyfile, password or _refuse_to_ask)
    if ca_certs is not None:
        context.load_verify_locations(ca_certs)
        context.verify_mode = ssl.CERT_REQUIRED if cert_reqs is None else ssl.VerifyMode(cert_reqs)
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context


def client_context(
    certfile: str | None = None,
    keyfile: str | None = None,
    *,
    ca_certs: str | None = None,
    cert_reqs: int | None = None,
    ciphers: str | None = None,
    check_hostname: bool = True,
) -> ssl.SSLContext:
    """Return a context for clients, which believes ``ca_certs``, or else those whom the system believes.

    Args:
        cert_reqs: ``ssl.CERT_NONE`` believes everybody.
        check_hostname: The certificate must be one of the host that was asked for.

    The others, and what is raised, are those of `server_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_hostname and cert_reqs != ssl.CERT_NONE
    context.verify_mode = ssl.CERT_REQUIRED if cert_reqs is None else ssl.VerifyMode(cert_reqs)
    if certfile is not None:
        context.load_cert_chain(certfile, keyfile, _refuse_to_ask)
    if ca_certs is not None:
        context.load_verify_locations(ca_certs)
    elif cert_reqs != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context


def set_version(context: ssl.SSLContext, constant: int) -> None:
    """Allow only what one of ``ssl``'s old ``PROTOCOL_`` constants stands for.

    Raises:
        ValueError: It is none of them.
    """
    if constant in [getattr(ssl, name) for name in _ANY_VERSION]:
        return
    for name, version in _ONE_VERSION.items():
        if constant == getattr(ssl, name, None):
            context.minimum_version = context.maximum_version = version
            return
    raise ValueError(f"ssl_version={constant!r} is none of {', '.join([*_ANY_VERSION, *_ONE_VERSION])}")


def _refuse_to_ask() -> str:
    # OpenSSL would ask on the terminal, and a server that nobody looks at would never start.
    raise ValueError("the key has a password, and it was not given")
