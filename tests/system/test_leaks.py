"""Nothing of a request, a connection or a green thread outlives its end, nor waits for the collector.

``python -m tests.long memory`` does the same at a larger scale, with the memory of the process.
"""

from __future__ import annotations

import gc
import logging
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
from flask import Flask

import greenserve
from greenserve.wsgi import HttpProtocol
from tests.wsgi.raw import Running, get, running

COUNT = 20_000

# Timers that were cancelled wait in the heap for their deadline, up to 64 of them. A leak would be thousands.
SLACK = 200


def count_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@contextmanager
def nothing_for_the_collector() -> Iterator[None]:
    """Hold that what ends here goes at once, by reference counts: no circle of references keeps it."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        circles = Counter(type(found).__name__ for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert circles == Counter()


@pytest.fixture
def _no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have failures that are meant to happen logged nowhere: a record that is kept keeps the frames of the failure."""
    for name in ("greenserve.core", "greenserve.wsgi"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)


# Green threads -----------------------------------------------------------------------------------------------------


def fail() -> None:
    raise ValueError("meant to fail")


def wait_in_vain() -> None:
    with greenserve.Timeout(0.0001, False):
        greenserve.Event().wait()


def time_out() -> None:
    greenserve.Semaphore(0).acquire(timeout=0.0001)


def leave() -> None:
    raise greenserve.GreenletExit


def run_in_pool(function: Callable[[], Any], count: int) -> list[weakref.ref[Any]]:
    pool = greenserve.GreenPool(count)
    started = [weakref.ref(pool.spawn(function)) for _ in range(count)]
    assert pool.waitall(10)
    return started


@pytest.mark.usefixtures("_no_logs")
@pytest.mark.parametrize("function", [int, greenserve.sleep, fail, wait_in_vain, time_out, leave])
def test_a_green_thread_goes_when_it_ends(function: Callable[[], Any]) -> None:
    run_in_pool(function, 2)
    with nothing_for_the_collector():
        started = run_in_pool(function, 20)
        greenserve.sleep(0)  # the last one has told that it ends, and now ends
        assert [ref() for ref in started] == [None] * 20


def test_a_green_thread_that_is_killed_where_it_waits_goes_too() -> None:
    with nothing_for_the_collector():
        queue: greenserve.Queue[None] = greenserve.Queue()
        threads = [greenserve.spawn(queue.get) for _ in range(20)]
        refs = [weakref.ref(thread) for thread in threads]
        greenserve.sleep(0)
        while threads:
            threads.pop().kill()
        assert [ref() for ref in refs] == [None] * 20


def spawn_and_join(count: int) -> int:
    threads = [greenserve.spawn(abs, -number) for number in range(count)]
    return sum(thread.wait() for thread in threads)


def test_many_green_threads_leave_nothing() -> None:
    spawn_and_join(1000)
    before = count_objects()
    for _ in range(COUNT // 1000):
        assert spawn_and_join(1000) == 499_500
    assert count_objects() - before <= SLACK


# Requests ----------------------------------------------------------------------------------------------------------

flask_app = Flask(__name__)


@flask_app.get("/flask")
def _say_hello() -> str:
    return "hello"


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/flask":
        answer: Iterable[bytes] = flask_app(environ, start_response)
        return answer
    if path == "/fail":
        raise ValueError("meant to fail")
    start_response("200 OK", [])
    if path == "/stream":
        return iter([b"hel", b"lo"])
    if path == "/stop":
        return _break_off()
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - wsgi.file_wrapper closes it
        file.write(bytes(20_000))
        file.seek(0)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped
    if path == "/take":
        environ["greenserve.socket"].close()
        return []
    return [environ["wsgi.input"].read() or b"hello"]


def _break_off() -> Iterator[bytes]:
    yield b"hel"
    raise ValueError("meant to fail")


REQUESTS = {
    "plain": get("/"),
    "flask": get("/flask"),
    "length": get("/", "Content-Length: 5", method="POST", body=b"hello"),
    "chunked": get("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"),
    "unread": get("/stream", "Content-Length: 5", method="POST", body=b"hello"),
    "continue": get("/", "Content-Length: 5", "Expect: 100-continue", method="POST", body=b"hello"),
    "stream": get("/stream"),
    "file": get("/file"),
    "1.0": get("/", version="HTTP/1.0"),
    "fails": get("/fail"),
    "breaks off": get("/stop"),
    "taken over": get("/take"),
    "refused": get("/", "Content-Length: five"),
    "cut off": get("/")[:-10],
    "cut off in its body": get("/", "Content-Length: 50", method="POST", body=b"hello"),
    "two at once": get("/") * 2,
}


class Followed(HttpProtocol):
    """A connection that tells when it has gone.

    Attributes:
        gone: Has an item for each.
    """

    __slots__ = ()

    gone: ClassVar[greenserve.Queue[None]]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        weakref.finalize(self, self.gone.put_nowait, None).atexit = False


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> greenserve.Queue[None]:
    queue: greenserve.Queue[None] = greenserve.Queue()
    monkeypatch.setattr(Followed, "gone", queue, raising=False)
    return queue


def send_and_leave(run: Running, data: bytes) -> None:
    """Send bytes and the end of the stream on a new connection, and read until the server has closed it."""
    with greenserve.connect(run.address) as sock:
        sock.sendall(data)
        sock.shutdown_write()
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            pass  # an answer that was cut short ends so


@pytest.mark.usefixtures("_no_logs")
# werkzeug's router makes a circle of its own for each request.
@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "flask"])
def test_a_connection_goes_when_it_ends_with_all_that_belongs_to_it(name: str, gone: greenserve.Queue[None]) -> None:
    with running(app, protocol=Followed) as run:
        for _ in range(3):
            send_and_leave(run, REQUESTS[name])
            gone.get(timeout=10)
        with nothing_for_the_collector():
            for _ in range(10):
                send_and_leave(run, REQUESTS[name])
                gone.get(timeout=10)
        assert run.server.accepted == 13


@pytest.mark.parametrize("request_name", ["plain", "flask"])
def test_many_requests_leave_nothing(request_name: str) -> None:
    with running(app) as run:
        client = run.connect()

        def ask(count: int) -> None:
            for number in range(0, count, 50):
                for more in range(50):
                    # A field of its own for each, since what has come before may be looked up.
                    client.send(
                        REQUESTS[request_name].replace(b"\r\n\r\n", b"\r\nX-Number: %d\r\n\r\n" % (number + more))
                    )
                for _ in range(50):
                    assert client.read().body == b"hello"

        ask(1000)
        before = count_objects()
        ask(COUNT // 2)
        assert count_objects() - before <= SLACK
        assert run.server.requests == 1000 + COUNT // 2


def test_many_connections_leave_nothing(gone: greenserve.Queue[None]) -> None:
    with running(app, protocol=Followed) as run:
        send_and_leave(run, REQUESTS["plain"])
        gone.get(timeout=10)
        before = count_objects()
        for _ in range(1000):
            send_and_leave(run, REQUESTS["plain"])
            gone.get(timeout=10)
        assert count_objects() - before <= SLACK
