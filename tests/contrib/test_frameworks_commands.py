"""``manage.py greenserve`` and ``flask greenserve``, each on a project as its framework would make it."""

from __future__ import annotations

import http.client
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests.contrib.programs import LIFETIME, ROOT, Program
from tests.docs.running import reserve_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.system

Start = Callable[..., Program]

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """
DEBUG = True
SECRET_KEY = "for tests alone"
ROOT_URLCONF = "site_urls"
INSTALLED_APPS = ["django.contrib.staticfiles", "greenserve.contrib.django"]
STATIC_URL = "static/"
STATICFILES_DIRS = ["assets"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
USE_TZ = True
"""

URLS = """
import threading, time
from django.db import connection
from django.http import HttpResponse
from django.urls import path

TEXT = "one"

def sleep(request):
    connection.ensure_connection()
    mine = id(connection.connection)
    time.sleep(0.3)
    # Each request has a database connection of its own, also while others have theirs.
    return HttpResponse("own" if id(connection.connection) == mine else "shared")

urlpatterns = [
    path("", lambda request: HttpResponse(TEXT)),
    path("sleep", sleep),
    path("host", lambda request: HttpResponse(request.META["SERVER_SOFTWARE"].partition("/")[0])),
]
"""

FLASK = """
import time
from flask import Flask, request

app = Flask(__name__)
TEXT = "one"

@app.get("/")
def index():
    return TEXT

@app.get("/sleep")
def sleep():
    time.sleep(0.3)
    return "slept"

@app.get("/host")
def host():
    return request.environ["SERVER_SOFTWARE"].partition("/")[0]

@app.get("/fail")
def fail():
    raise LookupError("of the app")
"""


def fetch(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIFETIME)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "manage.py").write_text(MANAGE)
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    (tmp_path / "site_urls.py").write_text(URLS)
    (tmp_path / "app.py").write_text(FLASK)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "style.css").write_text("body {}\n")
    started: list[Program] = []

    def run(*arguments: str) -> Program:
        started.append(Program.of_python(*arguments, cwd=tmp_path))
        return started[-1]

    yield run
    for program in started:
        program.__exit__()


def in_many(port: int, count: int) -> tuple[set[tuple[int, str]], float]:
    began = monotonic()
    with ThreadPoolExecutor(count) as pool:
        answers = set(pool.map(lambda _: fetch(port, "/sleep"), range(count)))
    return answers, monotonic() - began


def test_django_serves_requests_at_the_same_time_and_static_files(start: Start) -> None:
    port = reserve_port()
    program = start("manage.py", "greenserve", f"127.0.0.1:{port}", "--noreload")
    program.wait_for(rf"Starting .*server at http://127\.0\.0\.1:{port}/")
    assert fetch(port, "/host") == (200, "greenserve")
    assert fetch(port, "/static/style.css") == (200, "body {}\n")
    assert fetch(port, "/static/missing.css")[0] == 404
    answers, took = in_many(port, 20)
    assert answers == {(200, "own")}
    assert took < 4.0  # one after the other: 6 s
    program.wait_for(r'^\[[^]]+\] "GET /static/style\.css HTTP/1\.1" 200 8$')
    assert "too late" not in program.output
    assert program.stop(signal.SIGINT) == 0


def test_django_can_be_asked_to_serve_no_static_files(start: Start) -> None:
    port = reserve_port()
    start("manage.py", "greenserve", str(port), "--noreload", "--nostatic").wait_for("Starting")
    assert fetch(port, "/static/style.css")[0] == 404


def test_django_reloads_what_has_changed(start: Start, tmp_path: Path) -> None:
    port = reserve_port()
    program = start("manage.py", "greenserve", str(port))
    program.wait_for("Starting")
    assert fetch(port, "/") == (200, "one")
    (tmp_path / "site_urls.py").write_text(URLS.replace('"one"', '"another"'))
    program.wait_for("Starting", count=2)
    assert fetch(port, "/") == (200, "another")


def test_django_says_that_a_port_is_in_use(start: Start) -> None:
    port = reserve_port()
    start("manage.py", "greenserve", str(port), "--noreload").wait_for("Starting")
    second = start("manage.py", "greenserve", str(port), "--noreload")
    second.wait_for("Error: That port is already in use")
    assert second.wait() == 1


@pytest.fixture
def flask(start: Start, tmp_path: Path) -> Start:
    """Start ``flask greenserve``. The command is found by the entry point that the package declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["flask.commands"]
    (tmp_path / "declared-1.dist-info").mkdir()
    lines = ["[flask.commands]", *(f"{name} = {target}" for name, target in declared.items())]
    (tmp_path / "declared-1.dist-info" / "entry_points.txt").write_text("\n".join(lines))

    def run(*options: str, debug: bool = False) -> Program:
        return start("-m", "flask", *(["--debug"] if debug else []), "greenserve", "--port", "0", *options)

    return run


def port_of(program: Program, count: int = 1) -> int:
    return int(program.wait_for(r"^ \* Serving .* at http://127\.0\.0\.1:(\d+)/$", count=count)[1])


def test_flask_serves_requests_at_the_same_time(flask: Start) -> None:
    program = flask()
    port = port_of(program)
    assert fetch(port, "/host") == (200, "greenserve")
    answers, took = in_many(port, 20)
    assert answers == {(200, "slept")}
    assert took < 4.0  # one after the other: 6 s
    program.wait_for(r'^127\.0\.0\.1 - - \[[^]]+\] "GET /host HTTP/1\.1" 200 10 ')
    assert "too late" not in program.output
    status, text = fetch(port, "/fail")
    assert (status, "LookupError" in text) == (500, False)
    program.wait_for(r"^LookupError: of the app$")
    assert program.stop(signal.SIGINT) == 0


def test_flask_with_debug_reloads_and_shows_errors(flask: Start, tmp_path: Path) -> None:
    program = flask(debug=True)
    port = port_of(program)
    status, text = fetch(port, "/fail")
    assert (status, "LookupError: of the app" in text) == (500, True)
    (tmp_path / "app.py").write_text("this is no Python\n")
    program.wait_for("SyntaxError")
    (tmp_path / "app.py").write_text(FLASK.replace('"one"', '"another"'))
    assert fetch(port_of(program, count=2), "/") == (200, "another")
