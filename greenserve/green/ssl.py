"""What differs in the module ``ssl``: the class of socket that a context makes. Contexts themselves stay what they are.

Loads OpenSSL: imported by whoever asks for it, and by the patch.
"""

from __future__ import annotations

import ssl

from greenserve.net.tls import GreenSSLSocket

__all__ = ["SSLContext", "SSLSocket"]

SSLSocket = GreenSSLSocket


class SSLContext(ssl.SSLContext):
    """``ssl.SSLContext``, whose ``wrap_socket`` makes green sockets."""

    sslsocket_class = GreenSSLSocket
