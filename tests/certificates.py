"""Certificates for tests: an authority of this process's own, who it vouches for, and contexts with them."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trustme

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@cache
def authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_certificate(host: str = "localhost") -> trustme.LeafCert:
    return authority().issue_cert(host, "127.0.0.1")


def serving_context(version: ssl.TLSVersion | None = None, host: str = "localhost") -> ssl.SSLContext:
    """A server's context with the certificate of ``host``, for one version of TLS or for all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_certificate(host).configure_cert(context)
    return _limited(context, version)


def asking_context(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client's context that believes the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return _limited(context, version)


def _limited(context: ssl.SSLContext, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Files(NamedTuple):
    """Paths of PEM files."""

    certfile: str
    keyfile: str
    both: str  # key and certificate in one
    ca_certs: str


def write_files(folder: Path, certificate: trustme.LeafCert | None = None) -> Files:
    """Write a server's files, or those of ``certificate``, into ``folder``."""
    certificate = certificate or server_certificate()
    files = Files(*(str(folder / name) for name in ("cert.pem", "key.pem", "both.pem", "ca.pem")))
    certificate.cert_chain_pems[0].write_to_path(files.certfile)
    certificate.private_key_pem.write_to_path(files.keyfile)
    certificate.private_key_and_cert_chain_pem.write_to_path(files.both)
    authority().cert_pem.write_to_path(files.ca_certs)
    return files
