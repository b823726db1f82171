"""The smallest useful app: a fixed answer with its length."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.apps import Sleep

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["BODY", "CONTENT_TYPE", "make"]

BODY = b"Hello, World!"
CONTENT_TYPE = "text/plain; charset=utf-8"


def make(sleep: Sleep = time.sleep) -> WSGIApplication:
    """Return the app; it never sleeps."""
    fields = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(BODY)))]

    def hello(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # A fresh list each time, as every app makes one, and as a server may change it.
        start_response("200 OK", fields[:])
        return [BODY]

    return hello
