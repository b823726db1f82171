"""An app with an answer for each kind of load.

``/`` answers at once, ``/sleep`` after a second, ``/large`` with 5 MB, ``/upload`` when it has read the body.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.apps import Sleep, hello

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["LARGE_BODY_BYTES", "SLEEP_SECONDS", "make"]

LARGE_BODY_BYTES = 5_000_000
SLEEP_SECONDS = 1.0


def make(sleep: Sleep = time.sleep) -> WSGIApplication:
    """Return the app, which sleeps by ``sleep``."""
    large = bytes(LARGE_BODY_BYTES)

    def routes(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = hello.BODY
        if path == "/sleep":
            sleep(SLEEP_SECONDS)
        elif path == "/large":
            body = large
        elif path == "/upload":
            environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", hello.CONTENT_TYPE), ("Content-Length", str(len(body)))])
        return [body]

    return routes
