"""Sizes, numbers and hostile clients: what is refused, what it costs, and that it is never an error of the server."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import tracemalloc

import pytest

import greenserve
from greenserve import GreenSocket
from greenserve.wsgi import HttpProtocol
from tests.wsgi.raw import get, running


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body or b"hello"]


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def all_ended(run):
    while run.server.connections:
        greenserve.sleep(0)


HEAD = "GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("limits", "fits", "over", "code"),
    [
        ({"limit_request_line": 100}, get("/" + "x" * 86), get("/" + "x" * 87), 414),
        ({"limit_request_fields": 3}, get("/", "A: 1", "B: 2"), get("/", "A: 1", "B: 2", "C: 3"), 431),
        ({"limit_request_field_size": 64}, get("/", "A: " + "x" * 61), get("/", "A: " + "x" * 62), 431),
        (
            {"limit_request_head": 256},
            (HEAD + "A: " + "x" * (256 - len(HEAD) - 7) + "\r\n\r\n").encode(),
            (HEAD + "A: " + "x" * (256 - len(HEAD) - 6) + "\r\n\r\n").encode(),
            431,
        ),
    ],
)
@pytest.mark.parametrize("step", [None, 1, 7])
def test_a_head_at_its_limit_is_served_and_one_byte_or_field_more_is_not(limits, fits, over, code, step):
    for request, expected in ((fits, 200), (over, code)):
        with running(echo, **limits) as run:
            client = run.connect()
            for start in range(0, len(request), step or len(request)):
                client.send(request[start : start + (step or len(request))])
                greenserve.sleep(0)
            answer = client.read()
            assert answer.code == expected
            if code == expected:
                assert client.is_closed()
                assert run.server.refused == 1


@pytest.mark.parametrize(
    "endless",
    [b"x" * 1000, b"GET /" + b"x" * 1000, b"GET / HTTP/1.1\r\nA: " + b"x" * 1000, b"\r\n" * 500, b"A: 1\r\n" * 200],
)
def test_an_endless_head_is_refused_before_it_has_been_kept(endless):
    head = b"" if endless[:3] != b"A: " else b"GET / HTTP/1.1\r\n"
    with running(echo) as run:
        client = run.connect()
        client.send(head)
        sent = 0
        while not client.sock.wait_readable(0) and sent < 10_000_000:
            client.send(endless)
            sent += len(endless)
            greenserve.sleep(0)
        assert client.read().code in (400, 414, 431)
        assert sent < 1_000_000


LEAVES = {
    "at once": b"",
    "in the line": b"GET / HT",
    "in the fields": b"GET / HTTP/1.1\r\nHost",
    "in the body": get("/", "Content-Length: 10", method="POST", body=b"abc"),
    "in a chunk": get("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\nab"),
    "in the answer": get("/large"),
    "while the app works": get("/slow"),
    "before its refusal": b"bad\r\n\r\n",
    "between requests": get(),
}


@pytest.mark.parametrize("how", ["reset", "close", "send_end"])
@pytest.mark.parametrize("when", LEAVES)
def test_a_client_that_leaves_is_no_news(when, how, caplog):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            entered.send()
            go_on.wait()
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [b"x" * 10_000_000] if environ["PATH_INFO"] == "/large" else [body]

    entered, go_on = greenserve.Event(), greenserve.Event()
    with caplog.at_level(logging.WARNING), running(app) as run:
        client = run.connect()
        client.send(LEAVES[when])
        if when == "while the app works":
            entered.wait()
        if when in ("in the answer", "between requests"):
            client.read_head()
        getattr(client, how)()
        go_on.send()
        if how == "send_end":
            while client.file.read(65536):
                pass
            client.close()
        all_ended(run)
        assert run.ask(get()).code == 200
    assert warnings(caplog) == []


def test_a_large_answer_to_a_slow_reader_costs_no_more_than_a_piece_of_it():
    size = 100_000_000
    block = b"x" * 1_000_000

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(size))])
        return (block for _ in range(size // len(block)))

    with running(app) as run:
        client = run.connect()
        tracemalloc.start()
        try:
            client.send(get())
            client.read_head()
            left = size
            while left:
                left -= len(client.file.read(min(left, 100_000)))
                greenserve.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000
        assert client.ask(get("/", method="HEAD"), "HEAD").code == 200


def test_a_large_upload_costs_no_more_than_a_piece_of_it():
    def app(environ, start_response):
        total = 0
        while block := environ["wsgi.input"].read(100_000):
            total += len(block)
        start_response("200 OK", [])
        return [str(total).encode()]

    def upload(client, is_chunked):
        client.send(get("/", "Transfer-Encoding: chunked" if is_chunked else "Content-Length: 50000000"))
        for _ in range(500):
            client.send(b"186A0\r\n%b\r\n" % piece if is_chunked else piece)
        if is_chunked:
            client.send(b"0\r\n\r\n")

    piece = b"x" * 100_000
    with running(app) as run:
        client = run.connect()
        for is_chunked in (False, True):
            tracemalloc.start()
            try:
                sender = greenserve.spawn(upload, client, is_chunked)
                assert client.read().body == b"50000000"
                sender.wait()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 3_000_000


def test_requests_leave_nothing_behind():
    def ask_all(run):
        client = run.connect()
        for number in range(200):
            client.ask(get(f"/{number}?{number}", f"X-{number}: {number}", f"Cookie: {number}"))
            client.ask(get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n"))
        client.close()
        refused = run.connect()
        refused.ask(b"bad\r\n\r\n")
        refused.close()
        all_ended(run)
        run.clients.clear()
        gc.collect()
        return len(gc.get_objects())

    with running(echo) as run:
        ask_all(run)
        before = ask_all(run)
        for _ in range(5):
            after = ask_all(run)
        assert after - before < 200  # of 2,000 requests


def test_nothing_of_a_connection_is_left_for_the_collector(caplog):
    def fails(environ, start_response):
        if environ["PATH_INFO"] == "/fails":
            raise ValueError
        return echo(environ, start_response)

    caplog.set_level(logging.CRITICAL, "greenserve.wsgi")  # a record would keep the failure's frames
    with running(fails) as run:
        gc.collect()
        gc.disable()
        try:
            for request in (get(), get("/fails"), b"bad\r\n\r\n", get("/", "Content-Length: 3", body=b"abc")):
                client = run.connect()
                client.ask(request)
                client.close()
                run.clients.clear()
            all_ended(run)
            mine = [each for each in gc.get_objects() if issubclass(type(each), HttpProtocol)]
            found = [each for each in mine if each.server is run.server]
        finally:
            gc.enable()
        assert found == []


def test_running_out_of_files_is_said_once_and_got_over(caplog):
    with running(echo) as run:
        # The system connects it; the server has not looked yet.
        client = GreenSocket(fileno=socket.create_connection(run.address).detach())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            while not warnings(caplog):
                greenserve.sleep(0)
            for _ in range(100):
                greenserve.sleep(0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.sendall(get("/", "Connection: close"))
        client.settimeout(10)
        answer = b"".join(iter(lambda: client.recv(1000), b""))
        client.close()
        assert answer.endswith(b"hello")
    (record,) = warnings(caplog)
    assert "can't accept connections" in record.getMessage()
