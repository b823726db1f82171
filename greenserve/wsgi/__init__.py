"""The WSGI server: `server` and `Server`, and the connection's protocol."""

from __future__ import annotations

from greenserve.wsgi.failures import RequestTimedOut
from greenserve.wsgi.protocol import HttpProtocol
from greenserve.wsgi.serve import server
from greenserve.wsgi.server import Server

__all__ = ["HttpProtocol", "RequestTimedOut", "Server", "server"]
