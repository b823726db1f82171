"""The same answer as ``hello`` from a Flask view, which reads one request field on its way."""

from __future__ import annotations

import time

import flask

from benchmarks.apps import Sleep, hello

__all__ = ["make"]


def make(sleep: Sleep = time.sleep) -> flask.Flask:
    """Return the app; it never sleeps."""
    app = flask.Flask(__name__)

    @app.get("/")
    def greet() -> flask.Response:
        assert flask.request.headers["Host"]
        return flask.Response(hello.BODY, content_type=hello.CONTENT_TYPE)

    return app
