"""Applications for the tests that run a server in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, request

import greenserve

flask_app = Flask(__name__)


@flask_app.get("/")
def _show() -> dict[str, str]:
    return {"agent": request.headers["User-Agent"]}


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer ``/sleep`` after a second, and any other path at once."""
    if environ["PATH_INFO"] == "/sleep":
        greenserve.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
