"""Apps that fail, at each place where one can: what their client sees, what is logged, what others notice."""

from __future__ import annotations

import io
import logging

import pytest
from greenlet import GreenletExit

import greenserve
from tests.wsgi.raw import get, running


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


class Body:
    """An iterable that does what it is told, and remembers whether it was closed."""

    def __init__(self, *blocks, in_iter=None, in_next=None, in_close=None):
        self.blocks = iter(blocks)
        self.in_iter, self.in_next, self.in_close = in_iter, in_next, in_close
        self.closed = 0

    def __iter__(self):
        if self.in_iter:
            raise self.in_iter
        return self

    def __next__(self):
        for block in self.blocks:
            return block
        raise self.in_next or StopIteration

    def close(self):
        self.closed += 1
        if self.in_close:
            raise self.in_close


def serve_body(body, headers=()):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/":
            start_response("200 OK", list(headers))
            return body
        start_response("200 OK", [])
        return [b"other"]

    return running(app)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError(), greenserve.Timeout(None), RecursionError()])
@pytest.mark.parametrize("place", ["in_iter", "in_next"])
def test_a_failure_before_the_first_byte_is_a_500_logged_once_and_closed(place, error, caplog):
    body = Body(**{place: error})
    with serve_body(body) as run:
        client = run.connect()
        answer = client.ask(get())
        assert (answer.code, answer.fields["connection"]) == (500, "close")
        assert client.is_closed()
        assert run.ask(get("/other")).body == b"other"
    assert body.closed == 1
    assert [record.exc_info[1] for record in errors(caplog)] == [error]


@pytest.mark.parametrize("error", [ValueError("x"), greenserve.Timeout(None)])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "100")]])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_failure_in_the_middle_is_a_body_that_is_cut(version, headers, error, caplog):
    body = Body(b"part", in_next=error)
    with serve_body(body, headers) as run:
        client = run.connect()
        client.send(get(version=version) + get("/never"))
        client.read_head()
        with pytest.raises(ConnectionResetError):  # even where only the end of the connection would end the body
            client.read_rest()
        assert run.ask(get("/other")).body == b"other"
        assert run.server.requests == 2
    assert body.closed == 1
    assert [record.exc_info[1] for record in errors(caplog)] == [error]


@pytest.mark.parametrize("blocks", [[b"one"], [b"one", b"two"], []])
def test_a_failure_in_close_is_logged_and_leaves_the_answer_whole(blocks, caplog):
    error = ValueError("in close")
    with serve_body(Body(*blocks, in_close=error)) as run:
        client = run.connect()
        assert client.ask(get()).body == b"".join(blocks)
        assert client.ask(get("/other")).body == b"other"
    assert [record.exc_info[1] for record in errors(caplog)] == [error]


def test_the_iterable_is_closed_when_its_client_leaves_and_that_is_no_error(caplog):
    closed = greenserve.Event()

    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        finally:
            closed.send()

    with running(app) as run:
        client = run.connect()
        client.send(get())
        client.file.read(100_000)
        client.reset()
        closed.wait(5)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_write_to_a_client_that_has_left_raises_a_connection_error(caplog):
    raised = greenserve.Event()

    def app(environ, start_response):
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"x" * 65536)
        except ConnectionError as exc:
            raised.send(exc)
            raise

    with running(app) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        client.close()
        assert isinstance(raised.wait(5), greenserve.GreenserveError)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_apps_own_connection_errors_are_failures_of_the_app(caplog):
    def app(environ, start_response):
        raise ConnectionRefusedError(111, "the database is down")

    with running(app) as run:
        assert run.ask(get()).code == 500
        assert run.server.failed == 1
    assert len(errors(caplog)) == 1


def test_a_timeout_in_the_middle_of_sending_never_lets_the_rest_be_misread(caplog):
    tried = greenserve.Event()

    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"first")
        try:
            with greenserve.Timeout(0.05):
                write(b"x" * 50_000_000)
        except greenserve.Timeout:
            try:
                write(b"not what the client should take for the next chunk")
            finally:
                tried.send()
        return []

    with running(app) as run:
        client = run.connect()
        client.send(get())
        tried.wait(5)
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()


@pytest.mark.parametrize("minimum", [0, 1000])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "the app returned NoneType: return blocks of bytes, such as [body]"),
        (7, "the app returned int: return blocks of bytes, such as [body]"),
        (b"body", "the app's body must be blocks of bytes, and it gave int: return [body], and not body"),
        ("body", "the app's body must be bytes, and it gave str: encode it"),
        (["body"], "the app's body must be bytes, and it gave str: encode it"),
    ],
)
def test_a_body_that_is_no_blocks_of_bytes_is_told_with_what_to_return(body, message, minimum, caplog):
    def app(environ, start_response):
        start_response("200 OK", [])
        return body

    with running(app, minimum_chunk_size=minimum) as run:
        client = run.connect()
        client.send(get())
        assert client.read().code == 500
    assert [str(record.exc_info[1]) for record in errors(caplog)] == [message]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_system_exit_reaches_the_main_greenlet_after_its_client_was_answered(error, caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    go_on = greenserve.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/exit":
            raise error
        go_on.wait()
        start_response("200 OK", [])
        return [b"other"]

    with running(app) as run:
        client, other = run.connect(), run.connect()
        other.send(get())
        while not run.server.requests:
            greenserve.sleep(0)
        address = client.sock.getsockname()
        client.send(get("/exit"))
        with pytest.raises(type(error)):
            client.read()
        answer = client.read()
        assert (answer.code, answer.fields["connection"]) == (503, "close")
        go_on.send()
        assert other.read().body == b"other"
    assert errors(caplog) == []
    assert f"the app ends the program at GET /exit from {address}: {error!r}" in caplog.messages


def test_a_killed_request_is_answered_and_is_no_error_of_the_app(caplog):
    def app(environ, start_response):
        raise GreenletExit

    lines = io.StringIO()
    with running(app, log=lines) as run:
        answer = run.ask(get())
        assert (answer.code, answer.fields["connection"]) == (500, "close")
        assert b"stopping" not in answer.body
        assert run.server.failed == 1
    assert errors(caplog) == []
    assert "GET / from" in caplog.text
    assert '"GET / HTTP/1.1" 500' in lines.getvalue()


def test_a_request_that_is_killed_while_the_server_stops_is_told_so(caplog):
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        entered.send()
        go_on.wait()
        raise GreenletExit

    with running(app) as run:
        client = run.connect()
        client.send(get())
        entered.wait()
        run.server.stop(5)
        while not run.server.stopping:
            greenserve.sleep(0)
        go_on.send()
        answer = client.read()
    assert answer.code == 503
    assert b"the server is stopping" in answer.body


def test_debug_shows_the_traceback_to_the_client_and_otherwise_nothing_does(caplog):
    def app(environ, start_response):
        raise ValueError("the s\xe9cret")

    with running(app) as run:
        assert b"ValueError" not in run.ask(get()).body
    with running(app, debug=True) as run:
        answer = run.ask(get())
        assert answer.code == 500
        assert b"Traceback" in answer.body
        assert b"ValueError: the s?cret" in answer.body


def test_an_app_that_empties_its_environ_harms_nobody(caplog):
    def app(environ, start_response):
        is_bad = environ["PATH_INFO"] == "/bad"
        environ.clear()
        if is_bad:
            raise ValueError
        start_response("200 OK", [("Content-Length", "1")])
        return [b"too long"]

    lines = io.StringIO()
    with running(app, log=lines) as run:
        client = run.connect()
        assert client.ask(get()).body == b"t"
        assert client.ask(get("/bad")).code == 500
        assert run.ask(get()).body == b"t"


def test_posthooks_run_behind_the_answer_and_their_failures_stay_theirs(caplog):
    ran = []

    def hook(environ, *args, **kwargs):
        ran.append((environ["PATH_INFO"], args, kwargs))
        if args == (1,):
            raise ValueError

    def app(environ, start_response):
        environ["eventlet.posthooks"].append((hook, (1,), {"a": 2}))
        environ["eventlet.posthooks"].append((hook, (), {}))
        if environ["PATH_INFO"] == "/bad":
            raise KeyError
        start_response("200 OK", [])
        return [b"fine"]

    with running(app) as run:
        client = run.connect()
        assert client.ask(get()).body == b"fine"
        assert client.ask(get("/bad")).code == 500
        client.is_closed()
    assert ran == [("/", (1,), {"a": 2}), ("/", (), {}), ("/bad", (1,), {"a": 2}), ("/bad", (), {})]
