"""Packages that were written for eventlet, unmodified, with greenserve under its names."""

from __future__ import annotations

import os
from importlib.machinery import PathFinder

import pytest

from tests.compat.peers import ROOT, run_under_greenserve

pytestmark = pytest.mark.system

PATCH = "import eventlet\neventlet.monkey_patch()\n"

# A directory with nameko and all that it needs (pip install --target). In an environment of ours its plugin for pytest
# would patch the tests themselves.
NAMEKO = os.environ.get("GREENSERVE_TEST_NAMEKO")


def needs(package: str) -> pytest.MarkDecorator:
    # Not importlib.util: once imported, kombu is a module without a spec, and find_spec raises.
    return pytest.mark.skipif(PathFinder.find_spec(package) is None, reason=f"{package} is not installed")


@needs("kombu")
def test_kombu_takes_it_for_eventlet_and_passes_messages() -> None:
    script = """
    from kombu import Connection
    from kombu.utils.compat import detect_environment
    print(detect_environment())
    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("numbers")
        consumer = eventlet.spawn(lambda: queue.get(timeout=10).payload)
        eventlet.sleep(0)
        connection.SimpleQueue("numbers").put({"one": 1})
        print(consumer.wait())
    """
    assert run_patched(script) == "eventlet\n{'one': 1}\n"


@needs("kazoo")
def test_kazoos_handler_runs_callbacks_and_waits() -> None:
    script = """
    from kazoo.handlers.eventlet import SequentialEventletHandler
    from kazoo.protocol.states import Callback
    handler = SequentialEventletHandler()
    handler.start()
    result = handler.async_result()
    waiting = eventlet.spawn(result.get, timeout=10)
    eventlet.sleep(0)
    result.set(7)
    print(waiting.wait())
    called = eventlet.Event()
    handler.dispatch_callback(Callback("completion", called.send, (3,)))
    print(called.wait(timeout=10))
    listener = eventlet.listen(("127.0.0.1", 0))
    eventlet.spawn(lambda: listener.accept()[0].sendall(b"x"))
    sock = handler.create_connection(listener.getsockname(), timeout=10)
    print(handler.select([sock], [], [], 10)[0] == [sock], sock.recv(1))
    handler.stop()
    """
    assert run_patched(script) == "7\n3\nTrue b'x'\n"


@pytest.mark.skipif(NAMEKO is None, reason="GREENSERVE_TEST_NAMEKO names no directory that has nameko")
def test_a_service_of_nameko_answers_over_http_and_keeps_time() -> None:
    script = """
    import urllib.request
    from nameko.containers import ServiceContainer
    from nameko.timer import timer
    from nameko.web.handlers import http
    from nameko.web.server import WebServer

    ticked = eventlet.Event()

    class Service:
        name = "service"

        @http("GET", "/hello/<string:name>")
        def hello(self, request, name):
            return f"hello {name} {request.headers['X-A']}"

        @timer(interval=0.05)
        def tick(self):
            if not ticked.ready():
                ticked.send("tick")

    container = ServiceContainer(Service, config={"WEB_SERVER_ADDRESS": "127.0.0.1:0"})
    container.start()
    server = next(each for each in container.subextensions if isinstance(each, WebServer))
    url = f"http://127.0.0.1:{server._sock.getsockname()[1]}/hello/me"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"X-A": "yes"}), timeout=10) as answer:
        print(answer.read())
    print(ticked.wait(timeout=10))
    with eventlet.Timeout(10):
        container.stop()
    """
    assert run_patched(script, PYTHONPATH=f"{NAMEKO}{os.pathsep}{ROOT}") == "b'hello me yes'\ntick\n"


@needs("socketio")
def test_engineio_and_socketio_take_their_eventlet_driver() -> None:
    script = """
    import socketio
    server = socketio.Server(async_mode="eventlet")
    print(server.eio.async_mode, server.eio._async["queue_empty"].__name__)
    event, queue = server.eio.create_event(), server.eio.create_queue()
    server.start_background_task(event.set).join()
    print(event.wait(10))
    """
    assert run_patched(script) == "eventlet Empty\nTrue\n"


def run_patched(script: str, **environment: str) -> str:
    return run_under_greenserve(script, before=PATCH, PYTHONWARNINGS="ignore", **environment)
