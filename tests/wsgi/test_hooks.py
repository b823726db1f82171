"""What an app is told while its request runs: its time is over, its client has left, the server stops."""

from __future__ import annotations

import gc
import logging
import weakref
from contextlib import contextmanager

import pytest

import greenserve
from greenserve.net.sockets import socketpair
from greenserve.wsgi import RequestTimedOut
from greenserve.wsgi.hooks import DisconnectWatch, has_left
from tests.wsgi.raw import get, running


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"Hello"]


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# request_timeout -----------------------------------------------------------------------------------------------------


def test_an_app_that_takes_too_long_is_interrupted_where_it_waits_and_503_is_the_answer(caplog):
    raised = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/fast":
            return hello(environ, start_response)
        try:
            greenserve.Event().wait()
        except Exception:  # noqa: BLE001 - what careless apps do
            raised.append("swallowed")
        except BaseException as exc:
            raised.append(exc)
            raise

    with running(app, request_timeout=0.1) as run:
        client = run.connect()
        assert client.ask(get("/fast")).body == b"Hello"
        answer = client.ask(get("/slow"))
        assert (answer.code, answer.fields["connection"]) == (503, "close")
        assert client.is_closed()
        assert run.server.failed == 1
    (exc,) = raised
    assert isinstance(exc, RequestTimedOut)
    assert isinstance(exc, greenserve.Timeout)
    assert not isinstance(exc, Exception)
    assert str(exc) == "0.1 seconds"
    (record,) = warnings(caplog)
    assert record.getMessage().startswith("the app took longer than 0.1 seconds for GET /slow")
    assert record.exc_info[1] is exc


def test_an_answer_that_has_begun_is_cut_off(caplog):
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"part"
        greenserve.Event().wait()

    with running(app, request_timeout=0.1) as run:
        client = run.connect()
        client.send(get())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()


def test_a_body_that_is_waited_for_is_part_of_the_time(caplog):
    def app(environ, start_response):
        environ["wsgi.input"].read()

    with running(app, request_timeout=0.1) as run:
        assert run.ask(get("/", "Content-Length: 10", method="POST", body=b"abc")).code == 503


def test_an_app_may_answer_by_itself_when_its_time_is_over():
    def app(environ, start_response):
        try:
            greenserve.Event().wait()
        except greenserve.Timeout:
            start_response("504 Gateway Timeout", [])
            return [b"the database is slow"]

    with running(app, request_timeout=0.1) as run:
        client = run.connect()
        for _ in range(2):
            answer = client.ask(get())
            assert (answer.code, answer.body) == (504, b"the database is slow")


def test_who_takes_the_connection_over_or_says_so_has_no_time_limit():
    go_on = greenserve.Event()
    waiting = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/taken":
            environ["greenserve.socket"].sendall(b"mine ")
        elif environ["PATH_INFO"] == "/stream":
            environ["greenserve.no_timeout"]()
        else:
            greenserve.Event().wait()
        waiting.append(environ["PATH_INFO"])
        go_on.wait()
        if environ["PATH_INFO"] == "/taken":
            environ["greenserve.socket"].sendall(b"done")
            return []
        return hello(environ, start_response)

    with running(app, request_timeout=0.1) as run:
        taken, stream, other = run.connect(), run.connect(), run.connect()
        taken.send(get("/taken"))
        stream.send(get("/stream"))
        assert taken.file.read(5) == b"mine "
        assert other.ask(get("/other")).code == 503  # it has come after these, and its time is over
        go_on.send()
        assert taken.file.read() == b"done"
        assert stream.read().body == b"Hello"
    assert sorted(waiting) == ["/stream", "/taken"]


def test_every_request_of_a_connection_has_the_whole_time():
    turns = []

    def app(environ, start_response):
        turns.append(environ["PATH_INFO"])
        greenserve.sleep(0.06)  # nine of them take longer than one may
        return hello(environ, start_response)

    with running(app, request_timeout=0.5) as run:
        client = run.connect()
        assert [client.ask(get(f"/{n}")).code for n in range(9)] == [200] * 9
    assert len(turns) == 9


def test_a_timeout_of_the_apps_own_is_a_failure_like_others(caplog):
    def app(environ, start_response):
        if environ["PATH_INFO"] == "/":
            with greenserve.Timeout(0.01):
                greenserve.Event().wait()
        return hello(environ, start_response)

    with running(app) as run:
        assert run.ask(get()).code == 500
        assert run.server.failed == 1
    assert "the app failed at GET /" in caplog.text


# The client leaves ---------------------------------------------------------------------------------------------------


def test_the_app_is_told_when_its_client_leaves():
    left, answers = greenserve.Event(), []

    def app(environ, start_response):
        answers.append(environ["greenserve.disconnected"]())
        environ["greenserve.on_disconnect"](left.send)
        entered.send()
        left.wait()
        answers.append(environ["greenserve.disconnected"]())
        ended.send()
        return hello(environ, start_response)

    entered, ended = greenserve.Event(), greenserve.Event()
    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        client.close()
        ended.wait()
    assert answers == [False, True]


def test_requests_that_wait_behind_are_no_disconnect_and_hide_none():
    told, entered = greenserve.Event(), greenserve.Event()
    go_on, seen = greenserve.Event(), []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/first":
            environ["greenserve.on_disconnect"](told.send)
            entered.send()
            go_on.wait()
            seen.append((environ["greenserve.disconnected"](), told.ready()))
        elif environ["PATH_INFO"] == "/second":
            environ["greenserve.on_disconnect"](told.send)
            told.wait()
            seen.append(environ["greenserve.disconnected"]())
            done.send()
        return hello(environ, start_response)

    done = greenserve.Event()
    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get("/first"))
        entered.wait()
        client.send(get("/second"))
        greenserve.spawn_after(0.05, go_on.send)  # time enough to be told something wrong
        assert client.read().body == b"Hello"
        client.send(get("/third") + b"x" * 1000)  # never read: the client leaves before
        client.close()
        done.wait()
    assert seen == [(False, False), True]


def test_a_client_that_left_before_it_was_asked_about_is_told_at_once():
    told = greenserve.Event()

    def app(environ, start_response):
        entered.send()
        go_on.wait()
        environ["greenserve.on_disconnect"](told.send)
        environ["greenserve.on_disconnect"](also.send)
        told.wait()
        also.wait()
        ended.send()
        return []

    entered, go_on, also, ended = (greenserve.Event() for _ in range(4))
    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        client.close()
        go_on.send()
        ended.wait()


def test_nobody_is_told_of_a_client_that_leaves_after_its_answer(caplog):
    told = []

    def app(environ, start_response):
        environ["greenserve.on_disconnect"](lambda: told.append(environ["PATH_INFO"]))
        return hello(environ, start_response)

    with running(app) as run:
        client = run.connect()
        for n in range(3):
            assert client.ask(get(f"/{n}")).body == b"Hello"
        client.close()
        run.server.stop()
        run.server.join()
    assert told == []
    assert warnings(caplog) == []


def test_a_request_that_is_over_can_not_ask_and_leaves_nothing_behind():
    kept = []

    class Callback:
        def __call__(self):
            pass

    def app(environ, start_response):
        callback = Callback()
        kept.append(environ["greenserve.on_disconnect"])
        kept.append(environ["greenserve.on_stop"])
        kept.append(weakref.ref(callback))
        environ["greenserve.on_disconnect"](callback)
        environ["greenserve.on_stop"](callback)
        return hello(environ, start_response)

    with running(app) as run:
        client = run.connect()
        client.ask(get())
        on_disconnect, on_stop, callback = kept
        for ask in (on_disconnect, on_stop):
            with pytest.raises(RuntimeError, match="the request is over"):
                ask(lambda: None)
        client.sock.shutdown(1)
        assert client.is_closed()
        gc.collect()
        assert callback() is None


def test_a_callback_that_fails_is_logged_and_harms_nobody(caplog):
    def app(environ, start_response):
        environ["greenserve.on_disconnect"](lambda: 1 / 0)
        environ["greenserve.on_disconnect"](told.send)
        entered.send()
        told.wait()
        ended.send()
        return []

    told, entered, ended = (greenserve.Event() for _ in range(3))
    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        client.close()
        ended.wait()
        assert run.ask(b"GET / HTTP/2.0\r\n\r\n").code == 505
    assert "ZeroDivisionError" in caplog.text


def test_a_socket_whose_peer_is_there_has_not_been_left():
    ours, theirs = socketpair()
    assert not has_left(ours)
    theirs.sendall(b"x")
    assert not has_left(ours)
    theirs.close()
    assert has_left(ours)  # though there is still something to read
    assert ours.recv(10) == b"x"
    ours.close()
    assert has_left(ours)


@contextmanager
def watching_two_of_one_number():
    """A watch, the sockets of two clients that had and have the same number, and what is told of them."""
    watch, told = DisconnectWatch(), greenserve.Event()
    first, first_peer = socketpair()
    watch.add(first, lambda: told.send("first"))
    number = first.fileno()
    first.close()
    second, second_peer = socketpair()
    assert second.fileno() == number
    watch.add(second, lambda: told.send("second"))
    with first_peer, second_peer, second:
        yield watch, first, first_peer, second_peer, told
        watch.close()


def test_a_watch_does_not_mix_up_sockets_that_have_had_one_number():
    with watching_two_of_one_number() as (watch, first, first_peer, second_peer, told):
        watch.discard(first)  # said late
        first_peer.close()
        second_peer.close()
        with greenserve.Timeout(5):
            assert told.wait() == "second"
        watch.discard(first)  # and once more, when nobody is watched


def test_a_watch_knows_of_nobody_any_more_whose_number_was_told_of_under_another_name():
    with watching_two_of_one_number() as (watch, first, _first_peer, second_peer, told):
        second_peer.close()
        with greenserve.Timeout(5):
            assert told.wait() == "second"
        watch.discard(first)
        assert watch._fds == {}


# The server stops ----------------------------------------------------------------------------------------------------


def test_a_connection_that_was_taken_over_is_told_of_a_stop_and_can_say_goodbye():
    entered = greenserve.Event()

    def app(environ, start_response):
        sock = environ["greenserve.socket"]
        stop = greenserve.Event()
        environ["greenserve.on_stop"](stop.send)
        entered.send()
        stop.wait()
        sock.sendall(b"1001 going away")
        return []

    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        run.server.stop()
        assert client.file.read() == b"1001 going away"
        run.server.join()


def test_who_asks_during_a_stop_is_told_at_once():
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        entered.send()
        go_on.wait()
        stop = greenserve.Event()
        environ["greenserve.on_stop"](stop.send)
        stop.wait()
        return hello(environ, start_response)

    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        run.server.stop()
        greenserve.spawn_after(0, go_on.send)
        assert client.read().fields["connection"] == "close"


def test_who_does_not_end_when_told_is_cut_off_and_counted(caplog):
    entered, callbacks = greenserve.Event(), []

    def forever():
        try:
            greenserve.Event().wait()
        finally:
            callbacks.append("ended")

    def app(environ, start_response):
        environ["greenserve.socket"].sendall(b"mine")
        environ["greenserve.on_stop"](forever)
        entered.send()
        greenserve.Event().wait()

    with running(app) as run, greenserve.Timeout(10):
        client = run.connect()
        client.send(get())
        entered.wait()
        run.server.stop(0.1)
        run.server.join()
        assert run.server.ended
    assert callbacks == ["ended"]
    assert [record.getMessage() for record in warnings(caplog)] == [
        "cut off 1 connection still in use when the server stopped"
    ]


def test_clients_that_keep_requesting_during_a_stop_are_all_answered():
    """Each request gets its whole answer, or its connection was closed before a byte of it was sent."""
    answered, refused = [], []
    enough = greenserve.Event()

    def app(environ, start_response):
        if len(answered) > 100 and not enough.ready():
            enough.send()
        greenserve.sleep(0.001)
        start_response("200 OK", [])
        return [b"x" * 1000, b"y"]

    def keep_asking(run):
        while True:
            try:
                client = run.connect()
            except ConnectionRefusedError:
                refused.append(1)
                return
            while True:
                answer = client.ask(get())  # EOFError and ConnectionResetError would fail the test
                assert answer.body == b"x" * 1000 + b"y"
                answered.append(answer.fields.get("connection"))
                if answered[-1] == "close":
                    assert client.is_closed()
                    break

    with running(app) as run, greenserve.Timeout(30):
        clients = [greenserve.spawn(keep_asking, run) for _ in range(20)]
        enough.wait()
        run.server.stop()
        for client in clients:
            client.wait()
        run.server.join()
        assert run.server.requests == len(answered)
    assert len(refused) == 20
    assert answered.count("close") >= 20
