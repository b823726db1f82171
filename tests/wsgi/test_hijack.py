"""Apps that take the connection over, in each of the ways that libraries know (the gunicorn and the eventlet one)."""

from __future__ import annotations

import io
import logging
import select
import selectors
import socket
import threading

import pytest

import greenserve
from tests.wsgi.raw import get, running

HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
UPGRADE = get("/", "Connection: Upgrade", "Upgrade: x")

OFFERS = {
    "gunicorn.socket": lambda environ: environ["gunicorn.socket"],
    "greenserve.socket": lambda environ: environ["greenserve.socket"],
    "eventlet.input": lambda environ: environ["eventlet.input"].get_socket(),
    "wsgi.input": lambda environ: environ["wsgi.input"].get_socket(),
}


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def return_empty(start_response):
    return []


def return_none(start_response):
    return None


def return_empty_block(start_response):
    return [b""]


def answer_late(start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"late"]


def answer_late_as_a_stream(start_response):
    def blocks():
        start_response("200 OK", [])
        yield b"late"

    return blocks()


def write_late(start_response):
    start_response("200 OK", [])(b"late")
    return []


def raising(error):
    def end(start_response):
        raise error

    end.__name__ = f"raise {error!r}"
    return end


ENDINGS = [
    return_empty,
    return_none,
    return_empty_block,
    answer_late,
    answer_late_as_a_stream,
    write_late,
    raising(StopIteration()),
    raising(ConnectionError()),
    raising(BrokenPipeError(32, "Broken pipe")),
    raising(OSError(9, "Bad file descriptor")),
]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("offer", OFFERS)
def test_a_taken_connection_is_the_apps_until_it_ends_and_ends_without_a_word(offer, end, caplog):
    def app(environ, start_response):
        sock = OFFERS[offer](environ)
        sock.send(HANDSHAKE)
        while data := sock.recv(100):
            sock.send(data.upper())
        sock.close()
        sock.close()
        return end(start_response)

    lines = io.StringIO()
    with running(app, log=lines) as run:
        client = run.connect()
        client.send(UPGRADE + b"early")
        assert client.read_head()[0] == b"HTTP/1.1 101 Switching Protocols"
        assert client.file.read(5) == b"EARLY"
        client.send(b"late")
        assert client.file.read(4) == b"LATE"
        client.send_end()
        assert client.read_rest() == b""
        while run.server.connections:
            greenserve.sleep(0)
    assert warnings(caplog) == []
    assert '"GET / HTTP/1.1" 101 ' in lines.getvalue()


def test_detach_refuses_to_lose_what_was_read_ahead_and_then_gives_the_fd_away():
    def app(environ, start_response):
        sock = environ["greenserve.socket"]
        sock.fileno()  # with bytes read ahead it has an fd of its own
        with pytest.raises(RuntimeError, match=r"would lose 5 bytes .* unwrap_socket"):
            sock.detach()
        assert sock.recv(100) == b"early"
        fd = sock.detach()
        assert sock.fileno() == -1
        with socket.socket(fileno=fd) as other:
            other.settimeout(5)
            other.sendall(b"still open")
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"early")
        assert client.read_rest() == b"still open"


def test_a_connection_the_app_left_open_is_closed_when_the_app_returns():
    def app(environ, start_response):
        environ["gunicorn.socket"].sendall(b"bye")
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert client.read_rest() == b"bye"


def of_copy(sock):
    with sock.dup() as copy:
        return copy.recv(100)


WAYS = {
    "recv": lambda sock: sock.recv(3) + sock.recv(100),
    "recv_into": lambda sock: into(sock.recv_into, 3) + into(sock.recv_into, 0),
    "recv_into a view": lambda sock: into(lambda buffer, size: sock.recv_into(memoryview(buffer)), 0),
    "peek": lambda sock: sock.recv(100, socket.MSG_PEEK)[:0] + sock.recv(100),
    "recvfrom": lambda sock: sock.recvfrom(100)[0],
    "recvfrom_into": lambda sock: into(lambda buffer, size: sock.recvfrom_into(buffer, size)[0], 100),
    "recvmsg": lambda sock: sock.recvmsg(100)[0],
    "recv of a copy": of_copy,
    "file": lambda sock: sock.makefile("rb").readline(),
    "file for both": lambda sock: sock.makefile("rwb").readline(),
    "unbuffered file": lambda sock: sock.makefile("rb", 0).readline(),
    "text file": lambda sock: sock.makefile("r", encoding="ascii", newline="").readline().encode(),
}


def into(receive, size):
    buffer = bytearray(100)
    return bytes(buffer[: receive(buffer, size)])


@pytest.mark.parametrize("way", WAYS)
def test_early_bytes_come_out_of_every_way_to_receive(way):
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        sock.sendall(WAYS[way](sock))
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"early\n")
        assert client.read_rest() == b"early\n"


def test_a_file_over_the_socket_reads_early_bytes_and_what_follows_and_writes():
    def app(environ, start_response):
        with environ["gunicorn.socket"].makefile("rwb") as file:
            for line in file:
                file.write(line.upper())
                file.flush()
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"one\ntw")
        assert client.file.readline() == b"ONE\n"
        client.send(b"o\n")
        assert client.file.readline() == b"TWO\n"
        client.send_end()
        assert client.read_rest() == b""


def test_the_socket_does_what_sockets_do():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        assert sock.fileno() >= 0
        assert sock.getpeername() == (environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"]))
        assert sock.gettimeout() is None
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(None)
        sock.setblocking(True)
        assert sock.send(b"x" * 3_000_000) == 3_000_000  # whoever ignores the count loses nothing
        sock.shutdown(1)
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert len(client.read_rest()) == 3_000_000


def by_select(sock):
    return select.select([sock], [], [], 0)[0] == [sock]


def by_poll(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def by_selector(sock):
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(0))


@pytest.mark.parametrize("is_ready", [by_select, by_poll, by_selector])
def test_early_bytes_count_as_readable_for_whoever_waits_by_the_system(is_ready):
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        ready = [is_ready(sock), sock.pending(), sock.wait_readable(0)]
        sock.recv(2)
        ready += [is_ready(sock), sock.pending()]
        sock.recv(100)
        ready += [is_ready(sock), sock.pending(), sock.wait_readable(0)]
        sock.sendall(b"go")
        sock.wait_readable(5)
        ready += [is_ready(sock), sock.recv(100), is_ready(sock)]
        sock.sendall(repr(ready).encode())
        sock.close()
        assert sock.fileno() == -1
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"early")
        assert client.file.read(2) == b"go"
        client.send(b"late")
        assert client.read_rest() == repr([True, 5, True, True, 3, False, 0, False, True, b"late", False]).encode()


def test_one_selector_sees_what_was_early_and_what_is_late():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        got = []

        def receive():
            with selectors.DefaultSelector() as selector:
                selector.register(sock, selectors.EVENT_READ)
                while selector.select(10) and (data := sock.recv(3)):
                    got.append(data)

        greenserve.execute(receive)
        sock.sendall(b"|".join(got))
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"early")
        client.send(b"late")
        client.send_end()
        assert client.read_rest().replace(b"|", b"") == b"earlylate"


def test_without_early_bytes_it_has_the_sockets_own_fd():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        same = sock.fileno() == sock.unwrap_socket()[0].fileno()
        sock.sendall(b"same" if same else b"another")
        return []

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert client.read_rest() == b"same"


def test_the_servers_deadlines_no_longer_hold():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        sock.sendall(b"go")
        return [] if sock.recv(1) == b"x" else [b"?"]

    with running(app, keep_alive=0.02, head_timeout=0.02, body_timeout=0.02, write_timeout=0.02) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert client.file.read(2) == b"go"
        greenserve.sleep(0.2)  # ten times what each deadline allows
        client.send(b"x")
        assert client.read_rest() == b""


def test_a_body_not_yet_read_belongs_to_whoever_took_the_connection():
    def app(environ, start_response):
        first = environ["wsgi.input"].read(2)
        sock = environ["gunicorn.socket"]
        sock.sendall(first + b"|" + sock.recv(100))
        return []

    with running(app) as run:
        client = run.connect()
        client.send(get("/", "Content-Length: 5", method="POST", body=b"abcde"))
        assert client.read_rest() == b"ab|cde"


def test_a_native_thread_may_read_what_a_green_thread_writes():
    def app(environ, start_response):
        sock = environ["gunicorn.socket"]
        got = []

        def receive():
            while data := sock.recv(100):
                got.append(data)
            ended.send()

        ended = greenserve.Event()
        threading.Thread(target=receive).start()
        sock.send(b"go")
        ended.wait()
        sock.send(b"".join(got))
        raise StopIteration

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE + b"early ")
        assert client.file.read(2) == b"go"
        client.send(b"late")
        client.send_end()
        assert client.read_rest() == b"early late"


def test_an_upgrade_that_ends_by_stop_iteration_without_the_socket_ends_without_a_word(caplog):
    def app(environ, start_response):
        raise StopIteration

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert client.is_closed()
        assert run.ask(get()).code == 500  # of another request it is a bug
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_a_bug_of_an_app_that_has_taken_the_connection_is_logged(caplog):
    def app(environ, start_response):
        environ["gunicorn.socket"].sendall(b"go")
        raise ValueError("a bug")

    with running(app) as run:
        client = run.connect()
        client.send(UPGRADE)
        assert client.read_rest() == b"go"
    assert [record.exc_info[0] for record in warnings(caplog)] == [ValueError]


def test_looking_at_the_offer_takes_nothing():
    def app(environ, start_response):
        assert "gunicorn.socket" in repr(dict(environ))
        start_response("200 OK", [])
        return [b"fine"]

    with running(app) as run:
        client = run.connect()
        assert [client.ask(UPGRADE).body for _ in range(2)] == [b"fine", b"fine"]


def test_a_request_that_is_over_has_no_connection_to_take():
    kept = []

    def app(environ, start_response):
        kept.append(environ)
        start_response("200 OK", [])
        return [b"fine"]

    with running(app) as run:
        client = run.connect()
        client.ask(get())
        with pytest.raises(RuntimeError):
            kept[0]["wsgi.input"].get_socket()
        assert client.ask(get()).body == b"fine"
