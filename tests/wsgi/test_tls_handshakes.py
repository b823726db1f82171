"""A server's side of TLS: clients that don't do their handshake, stopping, listeners and certificates."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import ssl
import time
from pathlib import Path

import pytest

import greenserve
from greenserve import listen, spawn
from greenserve.errors import SettingError
from greenserve.wsgi import Server
from greenserve.wsgi.connection import Phase
from tests.certificates import (
    Files,
    asking_context,
    server_certificate,
    serving_context,
    write_files,
)
from tests.net.worlds import read_all
from tests.sync.threads import let_run, run_in_new_process
from tests.wsgi.raw import Client, get, running
from tests.wsgi.secure import TlsClient, client_hello, connect, hello, names_of, sending, show, shown, wait_until

BIG = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)


# Those who don't do their handshake -----------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [0, 1, 5, 100], ids=lambda said: f"{said} bytes of it")
@pytest.mark.parametrize("kind", ["ssl_context", "wrap_ssl"])
def test_clients_that_stall_their_handshake_harm_nobody_and_are_dropped(said, kind, caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    listener = listen(("127.0.0.1", 0))
    keywords = {"tls_handshake_timeout": 0.3}
    if kind == "wrap_ssl":
        listener = greenserve.wrap_ssl(listener, serving_context())
    else:
        keywords["ssl_context"] = serving_context()
    with running(hello, listener, **keywords) as run:
        stalled = [Client(run.address) for _ in range(30)]
        for client in stalled:
            client.send(client_hello()[:said])
        for _ in range(5):
            assert connect(run).ask(get()).body == b"Hello"
        assert all(client.is_closed() for client in stalled)
        for client in stalled:
            client.close()
        assert connect(run).ask(get()).body == b"Hello"
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_who_has_done_the_handshake_has_the_time_for_a_head():
    with running(hello, ssl_context=serving_context(), tls_handshake_timeout=5, head_timeout=100) as run:
        begun = time.monotonic()
        connect(run)
        (protocol,) = run.server.connections
        wait_until(lambda: protocol.conn.is_tls and protocol.phase is Phase.IDLE)
        assert protocol.deadline >= begun + 100


@pytest.mark.parametrize("kind", ["ssl_context", "wrap_ssl"])
@pytest.mark.parametrize("request_bytes", [get(), b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n", b"options * HTTP/1.1\r\n\r\n"])
def test_plain_http_gets_a_clear_400(kind, request_bytes, caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    listener = listen(("127.0.0.1", 0))
    keywords = {}
    if kind == "wrap_ssl":
        listener = greenserve.wrap_ssl(listener, serving_context())
    else:
        keywords["ssl_context"] = serving_context()
    with running(hello, listener, **keywords) as run:
        client = run.connect()
        answer = client.ask(request_bytes)
        assert (answer.code, answer.fields["connection"]) == (400, "close")
        assert b"https" in answer.body
        assert client.is_closed()
        assert (run.server.requests, run.server.refused) == (0, 1)
        assert connect(run).ask(get()).body == b"Hello"


@pytest.mark.parametrize("kind", ["wrap_ssl", "ssl_context"])
def test_plain_http_on_the_tls_port_is_in_the_access_log_and_a_head_gets_no_body(kind):
    listener = listen(("127.0.0.1", 0))
    keywords = {"log": io.StringIO(), "log_format": '%(h)s "%(r)s" %(s)s %(B)s'}
    if kind == "wrap_ssl":
        listener = greenserve.wrap_ssl(listener, serving_context())
    else:
        keywords["ssl_context"] = serving_context()
    with running(hello, listener, **keywords) as run:
        client = run.connect()
        client.send(get("/plain", method="HEAD"))
        assert client.read("HEAD").code == 400
        assert client.is_closed()
    assert keywords["log"].getvalue() == '127.0.0.1 "HEAD /plain HTTP/1.1" 400 0\n'


def test_plain_http_is_told_at_its_first_byte_and_may_go_on_sending():
    with running(hello, ssl_context=serving_context()) as run:
        client = run.connect()
        client.send(b"P")
        sender = spawn(sending, client, b"OST / HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n" + BIG)
        assert client.read().code == 400
        sender.wait()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01\x03\x01",  # SSL 2
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x00" * 100,
        b"\r\n\r\n",
        b"\xff",
    ],
)
def test_what_is_neither_tls_nor_http_ends_in_silence(junk, caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    with running(hello, ssl_context=serving_context(), tls_handshake_timeout=0.2) as run:
        client = run.connect()
        sending(client, junk)
        with contextlib.suppress(ConnectionResetError):
            assert not read_all(client.sock).startswith(b"HTTP")
        assert connect(run).ask(get()).body == b"Hello"
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_client_that_resets_in_its_handshake_is_no_error(caplog):
    with running(hello, ssl_context=serving_context()) as run:
        for said in (b"", client_hello()[:50], client_hello()):
            client = greenserve.connect(run.address)
            client.sendall(said)
            client.abort()
        assert connect(run).ask(get()).body == b"Hello"
        let_run()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_a_client_that_reads_nothing_is_cut_off():
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(BIG) * 10))])
        yield from [BIG] * 10

    with running(app, ssl_context=serving_context(), write_timeout=0.2) as run:
        client = connect(run)
        client.send(get())
        wait_until(lambda: run.server.requests and not run.server.connections)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            read_all(client.sock)


# Stopping -------------------------------------------------------------------------------------------------------------


def test_a_stop_says_goodbye_to_idle_clients_and_does_not_wait_for_stalled_ones():
    with running(hello, ssl_context=serving_context()) as run:
        stalled = run.connect()
        stalled.send(client_hello()[:20])
        idle = connect(run)
        assert idle.ask(get()).body == b"Hello"
        run.server.stop(2.0)
        assert idle.is_closed()
        assert not idle.sock.truncated
        run.server.join()


def test_a_request_that_runs_during_a_stop_is_answered():
    entered, go_on = greenserve.Event(), greenserve.Event()

    def app(environ, start_response):
        entered.send()
        go_on.wait()
        return hello(environ, start_response)

    with running(app, ssl_context=serving_context()) as run:
        client = connect(run)
        client.send(get())
        entered.wait()
        run.server.stop()
        go_on.send()
        answer = client.read()
        assert (answer.body, answer.fields["connection"]) == (b"Hello", "close")
        assert client.is_closed()
        assert not client.sock.truncated


# Listeners and certificates -------------------------------------------------------------------------------------------


def test_one_server_may_have_listeners_with_and_without_tls():
    listeners = [listen(("127.0.0.1", 0)), greenserve.wrap_ssl(listen(("127.0.0.1", 0)), serving_context())]
    plain, secure = (listener.getsockname() for listener in listeners)
    server = Server(listeners, show)
    server.start()
    try:
        client = Client(plain)
        assert shown(client.ask(get())) == {"wsgi.url_scheme": "http"}
        client.close()
        client = TlsClient(secure)
        assert shown(client.ask(get()))["wsgi.url_scheme"] == "https"
        client.close()
    finally:
        server.stop(0)
        server.join()


def test_tls_works_on_a_unix_socket(tmp_path):
    def port(environ, start_response):
        start_response("200 OK", [])
        return [f"{environ['wsgi.url_scheme']} {environ['SERVER_PORT']}".encode()]

    with running(port, listen(str(tmp_path / "socket")), ssl_context=serving_context()) as run:
        assert connect(run).ask(get()).body == b"https 443"


def test_it_says_in_the_log_where_it_listens_and_how(caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    with running(hello, ssl_context=serving_context()) as run:
        assert f"listening on https://127.0.0.1:{run.address[1]}" in caplog.text


def test_certificates_are_read_again_while_connections_go_on(files):
    asking = asking_context()
    asking.check_hostname = False
    with running(hello, certfile=files.certfile, keyfile=files.keyfile) as run:
        before = connect(run, asking)
        assert before.ask(get()).body == b"Hello"
        write_files(Path(files.certfile).parent, server_certificate("renewed.example"))
        assert names_of(connect(run, asking)) == ["localhost", "127.0.0.1"]
        run.server.reload_certificates()
        after = connect(run, asking)
        assert names_of(after) == ["renewed.example", "127.0.0.1"]
        assert after.ask(get()).body == b"Hello"
        assert before.ask(get()).body == b"Hello"
        Path(files.certfile).write_text("nothing of value")
        with pytest.raises(SettingError, match="holds no certificate"):
            run.server.reload_certificates()
        assert names_of(connect(run, asking)) == ["renewed.example", "127.0.0.1"]
        run.server.reload_certificates(serving_context(host="third.example"))
        assert names_of(connect(run, asking)) == ["third.example", "127.0.0.1"]


def test_a_server_without_files_can_be_given_another_context():
    asking = asking_context()
    asking.check_hostname = False
    with running(hello, ssl_context=serving_context()) as run:
        with pytest.raises(ValueError, match="load_cert_chain"):
            run.server.reload_certificates()
        run.server.reload_certificates(serving_context(host="other.example"))
        assert names_of(connect(run, asking)) == ["other.example", "127.0.0.1"]
    with running(hello) as run, pytest.raises(ValueError, match="does not speak TLS"):
        run.server.reload_certificates()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"keyfile": "KEY"}, "keyfile without certfile"),
        ({"cert_reqs": "required", "ciphers": "HIGH"}, "cert_reqs, ciphers without certfile"),
        ({"certfile": "BOTH", "ssl_context": "CONTEXT"}, "certfile beside ssl_context"),
        ({"certfile": "missing.pem"}, "certfile = 'missing.pem': No such file or directory"),
        ({"certfile": "BOTH", "ca_certs": "CA"}, "ca_certs without cert_reqs"),
        ({"certfile": "BOTH", "cert_reqs": 2}, "cert_reqs without ca_certs"),
        ({"certfile": "BOTH", "cert_reqs": 3}, "cert_reqs = 3"),
        ({"ssl_context": "ASKING"}, "a context for clients can't serve"),
    ],
)
def test_settings_that_do_not_go_together_are_told_at_once(files, keywords, message):
    named = {"KEY": files.keyfile, "BOTH": files.both, "CA": files.ca_certs, "CONTEXT": serving_context()}
    named["ASKING"] = asking_context()
    with pytest.raises(ValueError, match=re.escape(message)):
        Server([], hello, **{name: named.get(value, value) for name, value in keywords.items()})


def test_a_server_without_tls_never_loads_openssl():
    output = run_in_new_process(
        """
import sys
import greenserve
from greenserve.wsgi import Server
from tests.wsgi.raw import get, running

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"Hello"]

with running(app) as run:
    print(run.ask(get()).body, "ssl" in sys.modules)
"""
    )
    assert output == "b'Hello' False\n"
