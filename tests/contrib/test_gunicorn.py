"""gunicorn's worker, without gunicorn's processes: what becomes of its settings, and how it serves and stops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

import greenserve
from greenserve.contrib import gunicorn
from greenserve.contrib.gunicorn import Worker
from greenserve.settings import SETTINGS
from greenserve.wsgi import Server
from tests.certificates import write_files
from tests.wsgi.raw import Client, get

App = Callable[..., Any]


class Log:
    """A logger as gunicorn asks for one: of a class of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.accesses: list[tuple[Any, Any, dict[str, Any], timedelta]] = []

    def info(self, message: str, *args: object) -> None:
        self.lines.append(message % args)

    warning = critical = info

    def exception(self, message: str) -> None:
        self.lines.append(f"exception: {message}")

    def log(self, level: int, message: str, *args: object, exc_info: Any = None) -> None:
        self.lines.append(f"{logging.getLevelName(level)}: {message % args}")

    def access(self, response: Any, request: Any, environ: dict[str, Any], duration: timedelta) -> None:
        self.accesses.append((response, request, environ, duration))


def configured(**settings: Any) -> Config:
    cfg = Config()
    for name, value in settings.items():
        cfg.set(name, value)
    return cfg


class Run:
    """A worker that serves in this process, unpatched."""

    def __init__(self, app: App, **settings: Any) -> None:
        self.log = Log()
        self.listener = greenserve.listen(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        cfg = configured(**settings)
        self.worker = Worker(1, os.getppid(), [self.listener], None, cfg.timeout / 2, cfg, self.log)
        self.worker.wsgi = app
        self.thread = greenserve.spawn(self.worker.run)
        self.clients: list[Client] = []

    def connect(self) -> Client:
        client = Client(self.address)
        self.clients.append(client)
        return client

    def end(self) -> None:
        for client in self.clients:
            client.close()
        self.thread.kill()
        self.listener.close()
        server = self.worker._server
        if server is not None:
            server.stop(0)
            server.join()
        self.worker.tmp.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(app: App, **settings: Any) -> Run:
        runs.append(Run(app, **settings))
        return runs[-1]

    logger = logging.getLogger("greenserve")
    before = logger.handlers[:], logger.level, logger.propagate
    yield start
    for run in runs:
        run.end()
    logger.handlers[:], logger.level, logger.propagate = before


def show(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Of-App", "yes")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ['REMOTE_ADDR']}".encode()]


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        ({}, "keep_alive", 2.0),
        ({"keepalive": 30}, "keep_alive", 30.0),
        ({"worker_connections": 7}, "max_size", 7),
        ({"graceful_timeout": 4}, "graceful_timeout", 4.0),
        ({"proxy_protocol": "auto"}, "proxy_protocol", "auto"),
        ({"proxy_protocol": "off"}, "proxy_protocol", None),
        ({"header_map": "dangerous"}, "keep_underscores", True),
        ({"header_map": "drop"}, "keep_underscores", False),
    ],
)
def test_a_setting_of_gunicorn_is_one_of_the_server(settings: dict[str, Any], name: str, expected: object) -> None:
    server = Server([], show, **gunicorn._keywords(configured(**settings)))
    assert getattr(server, name) == expected


def test_a_refused_request_is_in_the_log_and_no_business_of_the_hooks(serve: Callable[..., Run]) -> None:
    told: list[Any] = []

    def after(worker: Any, request: Any, environ: dict[str, Any], response: Any) -> None:
        told.append(request.path)

    run = serve(show, post_request=after)
    assert run.connect().ask(b"nonsense\r\n\r\n").code == 400
    assert run.connect().ask(b"GET /bad HTTP/1.1\r\n\r\n").code == 400
    assert [(response.status, request.method, request.path) for response, request, _, _ in run.log.accesses] == [
        ("400", "nonsense", ""),
        ("400", "GET", "/bad"),
    ]
    assert told == []


def test_the_limits_of_a_head_are_those_of_gunicorn() -> None:
    cfg = configured(limit_request_line=1000, limit_request_fields=50, limit_request_field_size=400)
    limits = Server([], show, **gunicorn._keywords(cfg)).limits
    assert (limits.max_line, limits.max_fields, limits.max_field) == (1000, 50, 400)
    assert limits.max_head == SETTINGS["limit_request_head"].default


def test_a_field_that_may_be_longer_makes_the_head_longer() -> None:
    cfg = configured(limit_request_field_size=100_000)
    limits = Server([], show, **gunicorn._keywords(cfg)).limits
    assert limits.max_head == SETTINGS["limit_request_head"].default + 100_000 - 8190


def test_zero_is_no_limit() -> None:
    cfg = configured(limit_request_line=0, limit_request_field_size=0)
    limits = Server([], show, **gunicorn._keywords(cfg)).limits
    assert min(limits.max_line, limits.max_field, limits.max_head) >= 1 << 30


@pytest.mark.parametrize(
    ("allowed", "peer", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 1), True),
        ("127.0.0.1", ("192.0.2.1", 1), False),
        ("192.0.2.0/24", ("192.0.2.1", 1), True),
        ("*", ("198.51.100.1", 1), True),
        ("192.0.2.1", "", True),  # on a Unix socket
    ],
)
def test_the_proxies_that_are_believed_are_those_of_gunicorn(allowed: str, peer: object, expected: bool) -> None:
    server = Server([], show, **gunicorn._keywords(configured(forwarded_allow_ips=allowed)))
    assert server.proxies.trust.includes(peer) is expected


def test_the_certificate_is_that_of_gunicorn_and_its_hook_sees_it(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    seen = []

    def hook(config: Any, make: Callable[[], Any]) -> Any:
        seen.append(make())
        return seen[0]

    cfg = configured(certfile=files.certfile, keyfile=files.keyfile, ssl_context=hook)
    server = Server([], show, **gunicorn._keywords(cfg))
    assert server.tls is not None
    assert server.tls.context is seen[0]


def test_the_log_names_settings_that_have_no_effect() -> None:
    log = Log()
    Worker.check_config(configured(strip_header_spaces=True, preload_app=True, keepalive=5), log)
    assert [line.split(" ")[0] for line in log.lines] == ["preload_app:", "strip_header_spaces"]


def test_usual_settings_are_not_worth_a_word() -> None:
    log = Log()
    Worker.check_config(configured(workers=3), log)
    assert log.lines == []


def test_another_protocol_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^protocol = 'uwsgi': "):
        Worker.check_config(configured(protocol="uwsgi"), Log())


def test_requests_are_answered_and_logged_as_gunicorn_logs_them(serve: Callable[..., Run]) -> None:
    run = serve(show)
    answer = run.connect().ask(get("/a%20b?c=d", "X-Mine: 1"))
    assert (answer.code, answer.body) == (200, b"|/a b|127.0.0.1")
    [(response, request, environ, duration)] = run.log.accesses
    assert (response.status, response.status_code, response.sent) == ("200", 200, len(answer.body))
    assert ("X-Of-App", "yes") in response.headers
    assert (request.method, request.uri, request.path, request.query) == ("GET", "/a%20b?c=d", "/a%20b", "c=d")
    assert (request.version, request.scheme) == ((1, 1), "http")
    assert ("X-MINE", "1") in request.headers
    assert environ["REQUEST_METHOD"] == "GET"
    assert timedelta(0) <= duration < timedelta(seconds=10)


def test_what_the_server_says_goes_to_gunicorns_log(serve: Callable[..., Run]) -> None:
    def fail(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError("of the app")

    run = serve(fail)
    assert run.connect().ask(get()).code == 500
    assert [line.split(" from ")[0] for line in run.log.lines if line.startswith("ERROR")] == [
        "ERROR: the app failed at GET /"
    ]


def test_hooks_are_called_with_the_request_and_the_answer(serve: Callable[..., Run]) -> None:
    seen: list[tuple[object, ...]] = []

    def before(worker: Worker, request: Any) -> None:
        seen.append(("before", worker.nr, request.method, request.path))

    def after(worker: Worker, request: Any, environ: dict[str, Any], response: Any) -> None:
        seen.append(("after", request.uri, environ["PATH_INFO"], response.status_code, response.response_length))
        raise RuntimeError("the hook's own")

    run = serve(show, pre_request=before, post_request=after)
    client = run.connect()
    assert [client.ask(get("/x")).code for _ in range(2)] == [200, 200]
    assert seen == [
        ("before", 1, "GET", "/x"),
        ("after", "/x", "/x", 200, 13),
        ("before", 2, "GET", "/x"),
        ("after", "/x", "/x", 200, 13),
    ]
    assert run.log.lines.count("exception: Exception in post_request hook") == 2


def test_the_path_of_an_app_below_another_one_is_taken_from_script_name(
    serve: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/shop")
    client = serve(show).connect()
    assert client.ask(get("/shop/cart")).body == b"/shop|/cart|127.0.0.1"
    assert client.ask(get("/other")).body == b"|/other|127.0.0.1"


def test_the_worker_ends_after_the_request_that_is_one_too_many(serve: Callable[..., Run]) -> None:
    run = serve(show, max_requests=3)
    assert [run.connect().ask(get()).code for _ in range(3)] == [200, 200, 200]
    for client in run.clients:
        client.close()
    run.thread.wait(10)
    assert run.worker.alive is False
    assert run.log.lines.count("Autorestarting worker after current request.") == 1


def test_a_request_that_runs_is_answered_before_the_worker_ends(serve: Callable[..., Run]) -> None:
    began: greenserve.Event[None] = greenserve.Event()
    may_end: greenserve.Event[None] = greenserve.Event()

    def slow(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        began.send()
        may_end.wait()
        return show(environ, start_response)

    run = serve(slow)
    client = run.connect()
    client.send(get())
    began.wait(10)
    run.worker.handle_exit(15, None)
    may_end.send()
    answer = client.read()
    assert (answer.code, answer.fields["connection"]) == (200, "close")
    run.thread.wait(10)


def test_a_worker_that_is_no_longer_alive_for_another_reason_stops_too(serve: Callable[..., Run]) -> None:
    run = serve(show, timeout=1)  # gunicorn's reloader does no more than this
    assert run.connect().ask(get()).code == 200
    run.worker.alive = False
    run.clients[0].close()
    run.thread.wait(10)


def test_a_worker_whose_master_has_gone_stops(serve: Callable[..., Run]) -> None:
    run = serve(show, timeout=1)
    assert run.connect().ask(get()).code == 200
    run.worker.ppid = -1
    run.clients[0].close()
    run.thread.wait(10)
    assert "Parent changed, shutting down: <Worker [booting]>" in run.log.lines


def test_the_worker_gives_a_sign_of_life_while_it_waits(serve: Callable[..., Run]) -> None:
    beats: list[None] = []
    enough: greenserve.Event[None] = greenserve.Event()
    run = serve(show, timeout=1)

    def notify() -> None:
        beats.append(None)
        if len(beats) == 4:
            enough.send()

    run.worker.notify = notify
    enough.wait(10)
    assert len(beats) >= 4
