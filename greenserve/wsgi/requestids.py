"""An id for each request, which the log, the app and the client can name it by. Plain WSGI around an app.

A client's or a proxy's own ``X-Request-ID`` is kept if it is one: up to 128 letters, digits and ``._~+/=:@-``, as the
UUIDs and the trace ids are that are in use. Anything else could not be searched for, or would forge what it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from os import urandom
from typing import Any

from greenserve.wsgi.environ import Environ
from greenserve.wsgi.run import WSGIApp

__all__ = ["REQUEST_ID", "give_request_ids"]

# The variable of environ that holds it, beside HTTP_X_REQUEST_ID.
REQUEST_ID = "greenserve.request_id"

_SANE = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")


def give_request_ids(app: WSGIApp) -> WSGIApp:
    """Return ``app`` with ids: in environ under `REQUEST_ID` and as the header field, and sent back with the answer."""

    def with_id(environ: Environ, start_response: Any) -> Iterable[bytes]:
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not _SANE.fullmatch(request_id):
            request_id = environ["HTTP_X_REQUEST_ID"] = urandom(16).hex()
        environ[REQUEST_ID] = request_id

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if not any(name.lower() == "x-request-id" for name, _ in headers):
                headers = [*headers, ("X-Request-ID", request_id)]
            return start_response(status, headers, *exc_info)

        return app(environ, start)

    return with_id
