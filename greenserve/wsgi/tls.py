"""TLS before HTTP: a connection's handshake, and what environ says of it. Knows no requests.

Facts this rests on:

- A client begins TLS with a handshake record, whose first byte is 22 (RFC 8446 section 5.1). A request line begins with
  a letter, save for methods that nobody has seen yet.
- OpenSSL takes the certificate from the context when the handshake begins. Connections that are there keep theirs.

The variables are those of Apache's mod_ssl, which frameworks and applications know.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterable, Mapping
from socket import MSG_PEEK
from typing import Any

from greenserve._originals import monotonic
from greenserve.errors import BadRequest, SettingError
from greenserve.net.contexts import server_context
from greenserve.net.sockets import GreenSocket
from greenserve.net.tls import GreenSSLSocket, wrap_ssl
from greenserve.wsgi.connection import Phase
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.protocol import HttpProtocol

__all__ = ["Handshaker"]

log = logging.getLogger("greenserve.wsgi")

_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

# Types of attributes that RFC 4514 section 3 has short names for.
_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}


class Handshaker:
    """Takes the connections of one server through their handshakes.

    Attributes:
        context: What connections speak TLS with that do not by themselves, their listener having made them so; None
            leaves them plain.
        timeout: How long a handshake may take, in seconds.
    """

    def __init__(self, ssl_context: ssl.SSLContext | None, settings: Mapping[str, Any]) -> None:
        self.timeout: float = settings["tls_handshake_timeout"]
        self._settings = settings
        if ssl_context is None and settings["certfile"] is not None:
            ssl_context = _read_context(settings)
        self.context = _check(ssl_context)

    def reload(self, ssl_context: ssl.SSLContext | None) -> None:
        """Do further handshakes with ``ssl_context``, or with what the files hold now.

        Raises:
            SettingError: The files are not right. What they held before stays in use.
            ValueError: There are no files.
        """
        if ssl_context is None:
            if self._settings["certfile"] is None:
                raise ValueError(
                    "reload_certificates(): the server was given no certfile. "
                    "Call load_cert_chain() of its context, or reload_certificates(another_context)"
                )
            ssl_context = _read_context(self._settings)
        self.context = _check(ssl_context)

    def open(self, protocol: HttpProtocol) -> bool:
        """Do the handshake of ``protocol``'s new connection. False when nothing came of it. May switch.

        Raises:
            BadRequest: The client speaks plain HTTP. It can be answered so.
        """
        conn = protocol.conn
        if not conn.is_tls and self.context is None:
            return True
        protocol.deadline = monotonic() + self.timeout
        # OpenSSL comes in when the client has said something: one that connects and waits costs no more than elsewhere.
        GreenSocket.wait_readable(conn)
        first = GreenSocket.recv(conn, 1, MSG_PEEK)
        if not first:
            return False
        if first.isalpha():
            if conn.is_tls:
                protocol.use(GreenSocket(fileno=conn.detach()))
            protocol.rfile.fill()  # the method decides whether the answer has a body, and the log tells the request
            raise BadRequest("this port speaks TLS, and the request came without: use https")
        protocol.phase = Phase.HEAD
        try:
            if not isinstance(conn, GreenSSLSocket):
                conn = wrap_ssl(conn, self.context, server_side=True, do_handshake_on_connect=False)
                protocol.use(conn)
            conn.do_handshake()
        except ssl.SSLError as exc:
            log.info("no TLS with %s: %s", protocol.address, exc)
            return False
        protocol.idle_since = monotonic()
        return True

    def describe(self, conn: GreenSocket) -> Environ:
        """What environ says of TLS on one connection, after its handshake; nothing of a plain one."""
        if not isinstance(conn, GreenSSLSocket):
            return {}
        cipher = conn.cipher()
        certificate = conn.getpeercert(binary_form=True)
        environ: Environ = {
            "SSL_PROTOCOL": conn.version(),
            "SSL_CIPHER": cipher[0] if cipher else "",
            "SSL_CLIENT_VERIFY": "NONE" if certificate is None else "SUCCESS",
        }
        if certificate is not None:
            # A server asks for certificates only where it checks them: one that is here was found to be right.
            details: dict[str, Any] = conn.getpeercert() or {}
            environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
            environ["SSL_CLIENT_S_DN"] = _distinguished_name(details["subject"])
            environ["SSL_CLIENT_I_DN"] = _distinguished_name(details["issuer"])
            environ["SSL_CLIENT_M_SERIAL"] = details["serialNumber"]
            environ["SSL_CLIENT_V_START"] = details["notBefore"]
            environ["SSL_CLIENT_V_END"] = details["notAfter"]
        return environ


def _read_context(settings: Mapping[str, Any]) -> ssl.SSLContext:
    ca_certs, cert_reqs = settings["ca_certs"], _CERT_REQS[settings["cert_reqs"]]
    if ca_certs is not None and cert_reqs == ssl.CERT_NONE:
        # Whoever names a CA means to check somebody: serving everybody instead would go unnoticed.
        raise SettingError("ca_certs without cert_reqs: say whether a client's certificate is optional or required")
    context = server_context(
        settings["certfile"],
        settings["keyfile"],
        ca_certs=ca_certs,
        cert_reqs=cert_reqs,
        ciphers=settings["ciphers"],
    )
    context.set_alpn_protocols(["http/1.1"])
    return context


def _check(context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context={context!r} is no ssl.SSLContext")
    if context is not None and context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("a context for clients can't serve: make it with ssl.PROTOCOL_TLS_SERVER")
    return context


def _distinguished_name(name: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A name as RFC 4514 writes it, the most special part first: ``CN=Ann,O=Example,C=CH``."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escape(value)}" for kind, value in part)
        for part in reversed(list(name))
    )


# RFC 4514 section 2.4: these anywhere, a space at either end, a # at the beginning.
_SPECIAL = re.compile(r'["+,;<>\\]|^[ #]| $')
# PEP 3333 wants characters below 256; a backslash and two digits may stand for any byte of UTF-8.
_NOT_PLAIN = re.compile(r"[^ -~]")


def _escape(value: str) -> str:
    return _NOT_PLAIN.sub(_as_digits, _SPECIAL.sub(r"\\\g<0>", value))


def _as_digits(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:02X}" for byte in match[0].encode())
