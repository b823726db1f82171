"""What ends ``wsgi.server`` beside ``stop``: an interrupt, a kill, a timeout, a closed listener."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

import greenserve
from greenserve import wsgi
from greenserve.net.sockets import GreenSocket
from greenserve.wsgi import Server
from tests.wsgi.raw import Client, get


def echo(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


@pytest.mark.parametrize("in_a_hurry", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_stops_gracefully_and_a_second_one_at_once(error, in_a_hurry):
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stop":
            raise error
        entered.send()
        go_on.wait()
        return echo(environ, start_response)

    def clients(address):
        slow = Client(address)
        slow.send(get())
        entered.wait()
        stopping, again = Client(address), Client(address)
        assert stopping.ask(get("/stop")).code == 503
        if in_a_hurry:
            assert again.ask(get("/stop")).code == 503
            with pytest.raises(ConnectionResetError):
                slow.read()
        else:
            go_on.send()
            assert slow.read().body == b"hello"
        for client in (slow, stopping, again):
            client.close()

    listener = greenserve.listen(("127.0.0.1", 0))
    thread = greenserve.spawn(clients, listener.getsockname())
    with greenserve.Timeout(10):
        wsgi.server(listener, app, log_output=False)
        thread.wait()


def test_a_server_whose_green_thread_is_killed_or_times_out_stops_gracefully():
    def app(environ, start_response):
        entered.send()
        go_on.wait()
        return echo(environ, start_response)

    def with_timeout(listener, event):
        with greenserve.Timeout(0.05, False):
            wsgi.server(listener, app, server_event=event)

    def to_be_killed(listener, event):
        wsgi.server(listener, app, server_event=event)

    for serve in (with_timeout, to_be_killed):
        entered, go_on = greenserve.Event(), greenserve.Event()
        started = greenserve.Event()
        listener = greenserve.listen(("127.0.0.1", 0))
        address = listener.getsockname()
        thread = greenserve.spawn(serve, listener, started)
        server = started.wait()
        client = Client(address)
        client.send(get())
        entered.wait()
        if serve is to_be_killed:
            thread.kill()
        while not server.stopping or listener.fileno() >= 0:
            greenserve.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            Client(address)
        go_on.send()
        assert client.read().body == b"hello"
        server.join()
        client.close()


def test_a_server_whose_listener_is_closed_returns():
    listener = greenserve.listen(("127.0.0.1", 0))
    client_address = listener.getsockname()
    started = greenserve.Event()
    thread = greenserve.spawn(wsgi.server, listener, echo, server_event=started)
    server = started.wait()
    client = Client(client_address)
    assert client.ask(get()).body == b"hello"
    listener.close()
    while not server.stopping:
        greenserve.sleep(0)
    assert client.ask(get()).fields["connection"] == "close"
    with greenserve.Timeout(5):
        thread.wait()
    client.close()


def test_a_socket_that_does_not_listen_is_told_at_once():
    for bind in (True, False):
        with GreenSocket() as sock, greenserve.Timeout(5):
            if bind:
                sock.bind(("127.0.0.1", 0))
            with pytest.raises(OSError, match="does not listen") as raised:
                wsgi.server(sock, echo)
            assert raised.value.errno == errno.EINVAL
            assert sock.fileno() >= 0


def test_a_socket_that_is_closed_is_told_at_once_and_none_of_the_others_is_served():
    with greenserve.listen(("127.0.0.1", 0)) as good, greenserve.Timeout(5):
        closed = greenserve.listen(("127.0.0.1", 0))
        closed.close()
        server = Server([good, closed], echo)
        with pytest.raises(OSError, match="it is closed") as raised:
            server.serve_forever()
        assert raised.value.errno == errno.EBADF
        assert good.fileno() >= 0
        assert (server.accepted, server.connections) == (0, {})


def test_a_server_whose_listener_breaks_raises_once_its_requests_have_ended(caplog):
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        entered.send()
        go_on.wait()
        return echo(environ, start_response)

    listener = greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    thread = greenserve.spawn(wsgi.server, listener, app)
    client = Client(address)
    client.send(get())
    entered.wait()
    listener.shutdown(socket.SHUT_RDWR)  # accept() says EINVAL from now on
    while listener.fileno() >= 0:
        greenserve.sleep(0)
    go_on.send()
    assert client.read().body == b"hello"
    with greenserve.Timeout(5), pytest.raises(OSError, match="the server can't accept connections any more") as raised:
        thread.wait()
    assert raised.value.errno == errno.EINVAL
    assert sum("accepts no connections any more" in record.getMessage() for record in caplog.records) == 1
    client.close()


def test_a_server_whose_pool_takes_no_connection_raises(caplog):
    class Closed:
        def spawn(self, function, *args):
            raise LookupError("closed")

    listener = greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    thread = greenserve.spawn(wsgi.server, listener, echo, custom_pool=Closed())
    client = Client(address)
    with greenserve.Timeout(5), pytest.raises(RuntimeError, match="can't accept connections any more: closed"):
        thread.wait()
    assert client.is_closed()
    client.close()


def test_of_several_listeners_one_may_break(caplog):
    broken, good = greenserve.listen(("127.0.0.1", 0)), greenserve.listen(("127.0.0.1", 0))
    address = good.getsockname()
    server = Server([broken, good], echo)
    thread = greenserve.spawn(server.serve_forever)
    greenserve.sleep(0)
    broken.shutdown(socket.SHUT_RDWR)
    while broken.fileno() >= 0:
        greenserve.sleep(0)
    client = Client(address)
    assert client.ask(get()).body == b"hello"
    client.close()
    server.stop(0)
    with greenserve.Timeout(5):
        thread.wait()  # it was stopped, and that is no failure: what broke was logged
    assert "accepts no connections any more" in caplog.text


def test_a_server_may_be_made_in_one_os_thread_and_run_in_another():
    listener = greenserve.listen(("127.0.0.1", 0))
    address = listener.getsockname()
    server = Server(listener, echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = Client(address)
    assert client.ask(get()).body == b"hello"
    client.close()
    server.stop()
    thread.join(10)
    assert not thread.is_alive()
