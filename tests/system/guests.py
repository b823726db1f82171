"""One application in five frameworks: each route does the same in all of them. For the tests that run them.

``/echo`` gives the request's body back, ``/length`` says how many bytes it had, ``/bytes?n=`` answers so many,
``/stream?n=`` streams them in blocks, ``/json`` shows what the framework made of the request.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import bottle
import django
import falcon
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from flask import Flask, Response, jsonify
from flask import request as flask_request

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # what WebOb imports
    from pyramid.config import Configurator
    from pyramid.request import Request
    from pyramid.response import Response as PyramidResponse

BLOCK = b"0123456789abcdef" * 1024  # 16 KiB


def blocks(count: int) -> Iterator[bytes]:
    """Yield ``count`` bytes in blocks."""
    while count > 0:
        yield BLOCK[:count]
        count -= len(BLOCK)


def count_bytes(stream: Any) -> int:
    """Read ``stream`` to its end, in pieces."""
    total = 0
    while piece := stream.read(65536):
        total += len(piece)
    return total


def make_flask() -> Callable[..., Any]:
    app = Flask("guest")

    @app.post("/echo")
    def echo() -> bytes:
        return flask_request.get_data()

    @app.post("/length")
    def length() -> str:
        return str(count_bytes(flask_request.stream))

    @app.get("/bytes")
    def whole() -> bytes:
        return b"".join(blocks(int(flask_request.args["n"])))

    @app.get("/stream")
    def stream() -> Response:
        return Response(blocks(int(flask_request.args["n"])))

    @app.post("/json")
    def show() -> Response:
        return jsonify(form=flask_request.form.get("name"), field=flask_request.headers["X-Field"])

    return app


def make_django() -> Callable[..., Any]:
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=(
                path("echo", lambda request: HttpResponse(request.read())),
                path("length", lambda request: HttpResponse(str(count_bytes(request)))),
                path("bytes", lambda request: HttpResponse(b"".join(blocks(int(request.GET["n"]))))),
                path("stream", lambda request: StreamingHttpResponse(blocks(int(request.GET["n"])))),
                path("json", _show_django),
            ),
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="for tests alone",
            LOGGING_CONFIG=None,
            MIDDLEWARE=(),
        )
        django.setup()
    return WSGIHandler()


def _show_django(request: WSGIRequest) -> JsonResponse:
    return JsonResponse({"form": request.POST.get("name"), "field": request.headers["X-Field"]})


def make_bottle() -> Callable[..., Any]:
    app = bottle.Bottle()

    @app.post("/echo")
    def echo() -> bytes:
        return bottle.request.body.read()

    @app.post("/length")
    def length() -> str:
        return str(count_bytes(bottle.request.body))

    @app.get("/bytes")
    def whole() -> bytes:
        return b"".join(blocks(int(bottle.request.query["n"])))

    @app.get("/stream")
    def stream() -> Iterator[bytes]:
        # Bottle looks at the first block, so that there has to be one.
        yield b""
        yield from blocks(int(bottle.request.query["n"]))

    @app.post("/json")
    def show() -> dict[str, Any]:
        return {"form": bottle.request.forms.getunicode("name"), "field": bottle.request.get_header("X-Field")}

    return app


def make_falcon() -> Callable[..., Any]:
    class Echo:
        def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
            response.data = request.stream.read()

    class Length:
        def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
            response.text = str(count_bytes(request.stream))

    class Bytes:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            response.data = b"".join(blocks(request.get_param_as_int("n", required=True)))

    class Stream:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            response.stream = blocks(request.get_param_as_int("n", required=True))

    class Show:
        def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
            form = request.get_media()
            response.text = json.dumps({"form": form.get("name"), "field": request.get_header("X-Field")})

    app = falcon.App()
    for name, resource in (
        ("echo", Echo()),
        ("length", Length()),
        ("bytes", Bytes()),
        ("stream", Stream()),
        ("json", Show()),
    ):
        app.add_route(f"/{name}", resource)
    return app


def make_pyramid() -> Callable[..., Any]:
    def echo(request: Request) -> PyramidResponse:
        return PyramidResponse(request.body_file.read())  # request.body leaves a temporary file open

    def length(request: Request) -> PyramidResponse:
        return PyramidResponse(str(count_bytes(request.body_file)))

    def whole(request: Request) -> PyramidResponse:
        return PyramidResponse(b"".join(blocks(int(request.GET["n"]))))

    def stream(request: Request) -> PyramidResponse:
        return PyramidResponse(app_iter=blocks(int(request.GET["n"])))

    def show(request: Request) -> PyramidResponse:
        return PyramidResponse(json_body={"form": request.POST.get("name"), "field": request.headers["X-Field"]})

    config = Configurator()
    for name, view in (("echo", echo), ("length", length), ("bytes", whole), ("stream", stream), ("json", show)):
        config.add_route(name, f"/{name}")
        config.add_view(view, route_name=name)
    return config.make_wsgi_app()


FRAMEWORKS: dict[str, Callable[[], Callable[..., Any]]] = {
    "flask": make_flask,
    "django": make_django,
    "bottle": make_bottle,
    "falcon": make_falcon,
    "pyramid": make_pyramid,
}
