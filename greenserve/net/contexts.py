"""``ssl.SSLContext`` objects from names of files. Knows no sockets.

Like `greenserve.net.tls` it is imported only where TLS is used. Files are in PEM. What is wrong with one is told with
its name and what it was given for: OpenSSL only says "PEM lib".
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from greenserve.errors import SettingError

__all__ = ["client_context", "server_context", "set_version"]

Password = str | bytes | Callable[[], str | bytes]

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
    password: Password | None = None,
    ca_certs: str | None = None,
    cert_reqs: int | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """Return a context for servers: TLS 1.2 and 1.3, no renegotiation, no compression.

    Args:
        certfile: The certificate, and behind it those that vouch for it.
        keyfile: Its key, if that is not in ``certfile``.
        password: The key's, or a function that returns it. Nobody is asked for it on the terminal.
        ca_certs: Whom to believe when a client shows a certificate.
        cert_reqs: ``ssl.CERT_OPTIONAL`` or ``ssl.CERT_REQUIRED`` ask clients for one. By default the latter if there
            are ``ca_certs``, else nobody is asked.
        ciphers: The cipher suites of TLS 1.2, as ``openssl ciphers`` has them.

    Raises:
        SettingError: A file can't be read or does not hold what it should, or one of the others is not right.
    """
    if cert_reqs and ca_certs is None:
        raise SettingError("cert_reqs without ca_certs: say whom to believe when a client shows a certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_own(context, certfile, keyfile, password)
    if ca_certs is not None:
        _load_others(context, ca_certs)
        context.verify_mode = ssl.CERT_REQUIRED if cert_reqs is None else ssl.VerifyMode(cert_reqs)
    if ciphers is not None:
        _set_ciphers(context, ciphers)
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
        _load_own(context, certfile, keyfile, None)
    if ca_certs is not None:
        _load_others(context, ca_certs)
    elif cert_reqs != ssl.CERT_NONE:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ciphers is not None:
        _set_ciphers(context, ciphers)
    return context


def set_version(context: ssl.SSLContext, constant: int) -> None:
    """Allow only what one of ``ssl``'s old ``PROTOCOL_`` constants stands for.

    Raises:
        SettingError: It is none of them.
    """
    if constant in [getattr(ssl, name) for name in _ANY_VERSION]:
        return
    for name, version in _ONE_VERSION.items():
        if constant == getattr(ssl, name, None):
            context.minimum_version = context.maximum_version = version
            return
    allowed = ", ".join(f"ssl.{name}" for name in [*_ANY_VERSION, *_ONE_VERSION])
    raise SettingError(f"ssl_version = {constant!r} is not right; allowed: {allowed}")


def _load_own(context: ssl.SSLContext, certfile: str, keyfile: str | None, password: Password | None) -> None:
    certificate = _read("certfile", certfile)
    key_setting, key_name = ("certfile", certfile) if keyfile is None else ("keyfile", keyfile)
    key = _read(key_setting, key_name)

    def refuse() -> str:
        # OpenSSL would ask on the terminal, and a server that nobody looks at would never start.
        raise SettingError(f"{key_setting} = {key_name!r}: the key has a password, and none was given")

    try:
        context.load_cert_chain(certfile, keyfile, refuse if password is None else password)
    except ssl.SSLError as exc:
        if b" CERTIFICATE-----" not in certificate:
            reason = f"certfile = {certfile!r} holds no certificate"
        elif b" PRIVATE KEY-----" not in key:
            reason = f"{key_setting} = {key_name!r} holds no private key"
        elif exc.reason == "KEY_VALUES_MISMATCH":
            reason = f"{key_setting} = {key_name!r} does not hold the key of the certificate in {certfile!r}"
        else:
            reason = f"certfile = {certfile!r}, {key_setting} = {key_name!r}: {exc}"
        raise SettingError(reason) from exc


def _load_others(context: ssl.SSLContext, ca_certs: str) -> None:
    _read("ca_certs", ca_certs)
    try:
        context.load_verify_locations(ca_certs)
    except ssl.SSLError as exc:
        raise SettingError(f"ca_certs = {ca_certs!r} holds no certificate that can be read") from exc


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError as exc:
        raise SettingError(f"ciphers = {ciphers!r}: none of these is known; try: openssl ciphers -v") from exc


def _read(setting: str, name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as exc:
        raise SettingError(f"{setting} = {name!r}: {exc.strerror}") from exc
