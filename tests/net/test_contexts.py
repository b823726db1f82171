"""`wrap_ssl`'s arguments, and contexts made from files."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from greenserve import connect, listen, spawn
from greenserve.errors import SettingError
from greenserve.net import GreenSocket, socketpair
from greenserve.net.contexts import server_context
from greenserve.net.tls import wrap_ssl
from tests.certificates import asking_context, server_certificate, serving_context, write_files


def test_wrap_ssl_takes_the_files_by_their_old_names(tmp_path: Path):
    files = write_files(tmp_path)
    with wrap_ssl(listen(("127.0.0.1", 0)), keyfile=files.keyfile, certfile=files.certfile) as listener:
        for keywords in (
            {"ca_certs": files.ca_certs, "server_hostname": "localhost"},
            {"ca_certs": files.ca_certs, "cert_reqs": ssl.CERT_REQUIRED, "ssl_version": ssl.PROTOCOL_TLS},
            {"cert_reqs": ssl.CERT_NONE, "ssl_version": ssl.PROTOCOL_TLSv1_2},
            {"cert_reqs": ssl.CERT_NONE, "ciphers": "ECDHE+AESGCM", "server_hostname": "elsewhere"},
        ):
            asking = spawn(wrap_ssl, connect(listener.getsockname()), **keywords)
            conn, _ = listener.accept()
            with conn:
                conn.sendall(b"x")
                with asking.wait() as client:
                    assert client.recv(1) == b"x"
                    assert client.version() == ("TLSv1.2" if keywords.get("ssl_version") == 5 else "TLSv1.3")


def test_a_client_believes_nobody_without_being_told():
    a, b = socketpair()
    with a, b:
        with pytest.raises(ValueError, match="whose certificate"):
            wrap_ssl(a)
        server = spawn(wrap_ssl, b, serving_context(), server_side=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            wrap_ssl(a, server_hostname="localhost")
        with pytest.raises(ssl.SSLError):
            server.wait()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"server_side": True}, "a server needs a certificate"),
        ({"server_side": True, "certfile": "BOTH", "cert_reqs": ssl.CERT_REQUIRED}, "cert_reqs without ca_certs"),
        ({"server_side": True, "certfile": "BOTH", "ssl_version": 99}, "ssl_version = 99 is not right; allowed: ssl."),
        ({"server_side": True, "ssl_context": asking_context()}, "a context for clients"),
        ({"ssl_context": asking_context(), "ca_certs": "CA"}, "the context says all that"),
        ({"server_side": True, "certfile": "missing.pem"}, r"certfile = '.*missing.pem': No such file"),
        ({"server_side": True, "certfile": "BOTH", "keyfile": "missing.pem"}, r"keyfile = '.*missing.pem': No such"),
        ({"server_side": True, "certfile": "KEY", "keyfile": "KEY"}, r"certfile = '.*key.pem' holds no certificate"),
        ({"server_side": True, "certfile": "CERT"}, r"certfile = '.*cert.pem' holds no private key"),
        ({"server_side": True, "certfile": "CERT", "keyfile": "CERT"}, r"keyfile = '.*cert.pem' holds no private key"),
        ({"server_side": True, "certfile": "CA", "keyfile": "KEY"}, r"does not hold the key of the certificate in"),
        ({"server_side": True, "certfile": "BOTH", "ca_certs": "KEY"}, r"ca_certs = '.*key.pem' holds no certificate"),
        ({"server_side": True, "certfile": "BOTH", "ca_certs": "nope"}, r"ca_certs = '.*nope': No such file"),
        ({"server_side": True, "certfile": "BOTH", "ciphers": "NONSENSE"}, r"ciphers = 'NONSENSE': none of these"),
        ({"server_side": True, "certfile": "BOTH", "keyfile": "LOCKED"}, r"keyfile = '.*locked.pem': the key has"),
    ],
)
def test_arguments_that_do_not_go_together_and_wrong_files_are_told(tmp_path: Path, keywords, message):
    files = write_files(tmp_path)
    (tmp_path / "locked.pem").write_bytes(locked_key())
    named = {"BOTH": files.both, "KEY": files.keyfile, "CERT": files.certfile, "CA": files.ca_certs}
    named |= {name: str(tmp_path / name) for name in ("missing.pem", "nope")} | {"LOCKED": str(tmp_path / "locked.pem")}
    keywords = {name: named.get(value, value) if isinstance(value, str) else value for name, value in keywords.items()}
    with GreenSocket() as sock:
        with pytest.raises(ValueError, match=message):
            wrap_ssl(sock, **keywords)
        assert sock.fileno() >= 0, "it still belongs to the caller"


def locked_key() -> bytes:
    key = load_pem_private_key(server_certificate().private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def test_a_key_with_a_password_can_be_used(tmp_path: Path):
    files = write_files(tmp_path)
    (tmp_path / "locked.pem").write_bytes(locked_key())
    for password in ("secret", b"secret", lambda: "secret"):
        server_context(files.certfile, str(tmp_path / "locked.pem"), password=password)
    with pytest.raises(SettingError, match=r"locked\.pem"):
        server_context(files.certfile, str(tmp_path / "locked.pem"), password="wrong")


def test_server_contexts_ask_for_certificates_where_there_is_whom_to_believe(tmp_path: Path):
    files = write_files(tmp_path)
    made = [
        server_context(files.both),
        server_context(files.both, ca_certs=files.ca_certs),
        server_context(files.both, ca_certs=files.ca_certs, cert_reqs=ssl.CERT_OPTIONAL),
    ]
    assert [context.verify_mode for context in made] == [ssl.CERT_NONE, ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL]
    assert all(context.minimum_version >= ssl.TLSVersion.TLSv1_2 for context in made)
