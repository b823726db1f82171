"""Stopping: what runs is finished, what is on its way is answered, what idles is closed, what remains is cut."""

from __future__ import annotations

import logging
import threading

import pytest

import greenserve
from greenserve.wsgi import Server
from tests.wsgi.raw import get, running, stream_of


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return [body or b"hello"]


def records(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def when_stopping(run):
    while not run.server.stopping:
        greenserve.sleep(0)


def test_a_head_and_a_body_on_their_way_are_answered(caplog):
    with running(echo) as run:
        head, body, chunks = (run.connect() for _ in range(3))
        head.send(b"GET / HT")
        body.send(get("/", "Content-Length: 5", method="POST", body=b"ab"))
        chunks.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"2\r\nab\r\n"))
        while run.server.requests < 2:
            greenserve.sleep(0)
        run.server.stop()
        when_stopping(run)
        head.send(b"TP/1.1\r\nHost: x\r\n\r\n")
        body.send(b"cde")
        chunks.send(b"3\r\ncde\r\n0\r\n\r\n")
        for client, expected in ((head, b"hello"), (body, b"abcde"), (chunks, b"abcde")):
            answer = client.read()
            assert (answer.body, answer.fields["connection"]) == (expected, "close")
            assert client.is_closed()
        run.server.join()
    assert records(caplog, logging.WARNING) == []


def test_a_stream_that_has_begun_goes_on_to_its_end():
    steps = greenserve.Queue()
    with running(stream_of(steps)) as run:
        client = run.connect()
        client.send(get() + get("/on-its-way"))
        steps.put(b"one")
        client.read_head()
        assert client.read_chunk() == b"one"
        run.server.stop()
        when_stopping(run)
        steps.put(b"two")
        steps.put(None)
        assert client.read_chunked() == b"two"
        steps.put(None)
        assert client.read().fields["connection"] == "close"
        assert client.is_closed()
        run.server.join()


def test_an_idle_connection_gets_its_last_word_in_and_then_is_closed_without_one():
    with running(echo) as run:
        asking, silent = run.connect(), run.connect()
        for client in (asking, silent):
            client.ask(get())
        run.server.stop()
        when_stopping(run)
        assert asking.ask(get()).fields["connection"] == "close"
        assert silent.read_rest() == b""
        run.server.join()


def test_whoever_the_system_has_told_connected_is_served():
    with running(echo, max_size=1) as run:
        first = run.connect()
        first.ask(get())
        waiting = [run.connect() for _ in range(5)]
        for client in waiting:
            client.send(get())
        run.server.stop()
        for client in waiting:
            assert client.read().body == b"hello"
        run.server.join()
        with pytest.raises(ConnectionRefusedError):
            run.connect()


def test_no_request_of_clients_that_keep_asking_goes_unanswered(caplog):
    counts = []
    stopped = greenserve.Event()

    def keep_asking(run):
        answered = 0
        while not stopped.ready():
            try:
                client = run.connect()
            except ConnectionRefusedError:
                break
            while not stopped.ready():
                answer = client.ask(get())  # raises if the connection ends before its answer
                answered += 1
                if answer.fields.get("connection") == "close":
                    break
        counts.append(answered)

    with running(echo) as run:
        threads = [greenserve.spawn(keep_asking, run) for _ in range(20)]
        while run.server.requests < 500:
            greenserve.sleep(0)
        run.server.stop()
        run.server.join()
        stopped.send()
        for thread in threads:
            thread.wait()
        assert sum(counts) == run.server.requests
    assert records(caplog, logging.WARNING) == []


def test_what_does_not_end_in_time_is_cut_and_counted(caplog):
    forever = greenserve.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/taken":
            environ["gunicorn.socket"].recv(1)
            return []
        if environ["PATH_INFO"] == "/body":
            environ["wsgi.input"].read()
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/stream":
            return (forever.wait() or b"never" if step else b"first" for step in range(2))
        forever.wait()
        return []

    with running(app) as run:
        clients = [run.connect() for _ in range(5)]
        for client, path in zip(clients, ("/app", "/stream", "/taken", "/body")):
            client.send(get(path, *(["Content-Length: 5"] if path == "/body" else [])))
        clients[4].send(b"GET / HT")
        while run.server.requests < 4:
            greenserve.sleep(0)
        run.server.stop(0.1)
        run.server.join()
        for client in clients:
            with pytest.raises(ConnectionResetError):
                while client.file.read(1):
                    pass
    assert records(caplog, logging.WARNING) == ["cut off 5 connections still in use when the server stopped"]


def test_the_app_is_told_that_it_is_cut():
    ended = []

    def app(environ, start_response):
        try:
            greenserve.Event().wait()
        except greenserve.GreenletExit:
            ended.append("killed")
            raise
        finally:
            ended.append("cleaned up")

    with running(app) as run:
        run.connect().send(get())
        while not run.server.requests:
            greenserve.sleep(0)
        run.server.stop(0)
        run.server.join()
        assert ended == ["killed", "cleaned up"]


def test_a_second_stop_can_only_shorten_the_first():
    def app(environ, start_response):
        greenserve.Event().wait()

    with running(app) as run:
        run.connect().send(get())
        while not run.server.requests:
            greenserve.sleep(0)
        run.server.stop(20)
        when_stopping(run)
        run.server.stop(30)
        run.server.stop(0.05)
        with greenserve.Timeout(5):
            run.server.join()


def test_stop_may_be_called_from_another_os_thread_and_more_than_once():
    with running(echo) as run:
        client = run.connect()
        client.ask(get())
        thread = threading.Thread(target=run.server.stop)
        thread.start()
        run.server.join()
        thread.join()
        run.server.stop()
        run.server.join()
        assert client.is_closed()


def test_the_port_can_be_listened_on_at_once_after_a_stop():
    listener = greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    for _ in range(3):
        with running(echo, listener=listener) as run:
            run.ask(get())
        listener = greenserve.listen(address)
    listener.close()


def test_a_server_that_was_never_started_stops_too():
    listener = greenserve.listen(("127.0.0.1", 0))
    server = Server(listener, echo)
    server.stop()
    server.join()
    assert server.ended
    listener.close()


def test_a_request_that_comes_as_its_connection_expires_is_answered():
    with running(echo) as run:
        client = run.connect()
        client.ask(get())
        (protocol,) = run.server.connections
        client.send(get())
        protocol.expire()
        assert client.read().body == b"hello"
        protocol.expire()
        assert client.is_closed()


def test_an_acceptor_that_does_not_wait_when_the_stop_comes_does_not_wait_later():
    pool = greenserve.GreenPool(1)
    with running(echo, pool=pool) as run:
        clients = [run.connect() for _ in range(3)]
        for client in clients:
            client.send(get("/", "Connection: close"))
        run.server.stop()
        with greenserve.Timeout(5):
            run.server.join()
        for client in clients:
            assert client.read().body == b"hello"


def test_a_connection_that_its_app_calls_idle_is_hung_up_on():
    ended = []

    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        environ["eventlet.set_idle"]()
        sock.sendall(b"go")
        ended.append(sock.recv(1))
        return []

    with running(app) as run:
        client = run.connect()
        client.send(get())
        assert client.file.read(2) == b"go"
        run.server.stop()
        with greenserve.Timeout(5):
            run.server.join()
        assert ended == [b""]
        assert client.read_rest() == b""
