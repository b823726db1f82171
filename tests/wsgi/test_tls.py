"""HTTP over TLS, as clients and apps see it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import requests

import greenserve
from greenserve import execute, spawn
from greenserve.net import GreenSocket, socketpair
from greenserve.wsgi import HttpProtocol
from tests.certificates import (
    VERSIONS,
    Files,
    asking_context,
    authority,
    serving_context,
    write_files,
)
from tests.net.worlds import read_all, read_exactly
from tests.wsgi.raw import DEADLINE, get, running
from tests.wsgi.secure import TlsClient, connect, hello, names_of, sending, show, shown, wait_until

BIG = bytes(range(256)) * 20_000  # 5 MB


def echo(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [environ["wsgi.input"].read()]


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return request.param


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write_files(tmp_path)


# What clients see -----------------------------------------------------------------------------------------------------


def test_requests_are_answered_over_both_versions_and_environ_says_so(version):
    with running(show, ssl_context=serving_context(version)) as run:
        client = connect(run, asking_context(version))
        for _ in range(3):
            variables = shown(client.ask(get()))
            assert variables == {
                "wsgi.url_scheme": "https",
                "HTTPS": "on",
                "SSL_PROTOCOL": {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version],
                "SSL_CIPHER": client.sock.cipher()[0],
                "SSL_CLIENT_VERIFY": "NONE",
            }
        assert run.server.accepted == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs the program curl")
def test_curl_is_answered_twice_on_one_connection(files):
    with running(echo, certfile=files.both) as run:
        url = f"https://localhost:{run.address[1]}/"
        done = execute(
            subprocess.run,
            [
                "curl",
                "-sS",
                "--cacert",
                files.ca_certs,
                "-d",
                "hello",
                url,
                url,
                "-w",
                "[%{http_version} %{num_connects}]",
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("hello[1.1 1]hello[1.1 0]", "")


@pytest.mark.parametrize("library", ["requests", "httpx"])
def test_libraries_that_check_certificates_are_answered(files, library):
    with running(echo, certfile=files.certfile, keyfile=files.keyfile) as run:
        url = f"https://localhost:{run.address[1]}/"

        def ask_requests() -> list[bytes]:
            with requests.Session() as session:
                session.trust_env = False
                session.verify = files.ca_certs
                return [session.post(url, data=data, timeout=DEADLINE).content for data in (b"small", BIG)]

        def ask_httpx() -> list[bytes]:
            context = ssl.create_default_context(cafile=files.ca_certs)
            with httpx.Client(verify=context, timeout=DEADLINE) as client:
                return [client.post(url, content=data).content for data in (b"small", BIG)]

        assert execute({"requests": ask_requests, "httpx": ask_httpx}[library]) == [b"small", BIG]
        assert run.server.accepted == 1


def test_large_bodies_go_both_ways(version):
    with running(echo, ssl_context=serving_context(version)) as run:
        client = connect(run, asking_context(version))
        sender = spawn(client.send, get("/", f"Content-Length: {len(BIG)}", method="POST", body=BIG))
        assert client.read().body == BIG
        sender.wait()
        chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (BIG[:1], BIG[1:70_000], BIG[70_000:])]
        sender = spawn(
            client.send, get("/", "Transfer-Encoding: chunked", method="POST") + b"".join(chunks) + b"0\r\n\r\n"
        )
        assert client.read().body == BIG
        sender.wait()


def test_streams_and_files_are_sent(tmp_path):
    (tmp_path / "file").write_bytes(BIG)

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))
        return (BIG[start : start + 100_000] for start in range(0, len(BIG), 100_000))

    with running(app, ssl_context=serving_context()) as run:
        client = connect(run)
        assert client.ask(get("/file")).body == BIG
        assert client.ask(get("/stream")).body == BIG
        assert client.ask(get("/file")).body == BIG


def test_a_whole_session_may_come_a_byte_at_a_time():
    with running(echo, ssl_context=serving_context()) as run:
        (near, far), to_server = socketpair(), greenserve.connect(run.address)

        def pass_on(source: GreenSocket, target: GreenSocket, size: int) -> None:
            with contextlib.suppress(BrokenPipeError):  # the client's goodbye comes when the server has gone
                while data := source.recv(size):
                    target.sendall(data)

        with near, far, to_server:
            relays = [spawn(pass_on, far, to_server, 1), spawn(pass_on, to_server, far, 65536)]
            with greenserve.wrap_ssl(near, asking_context(), server_hostname="localhost") as client:
                client.sendall(get("/", "Content-Length: 5", "Connection: close", method="POST", body=b"hello"))
                assert read_all(client).endswith(b"\r\n\r\nhello")
            for relay in relays:
                relay.wait()


def test_http_1_1_is_what_the_server_chooses_and_not_http_2(files):
    asking = asking_context()
    asking.set_alpn_protocols(["h2", "http/1.1"])
    with running(hello, certfile=files.both) as run:
        client = connect(run, asking)
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert client.ask(get()).body == b"Hello"


def test_a_context_of_the_users_own_is_used_as_it_is():
    serving, other = serving_context(), serving_context(host="other.example")
    other.set_alpn_protocols(["of-its-own"])
    serving.sni_callback = lambda sock, name, context: setattr(sock, "context", other)
    asking = asking_context()
    asking.set_alpn_protocols(["of-its-own"])
    asking.check_hostname = False
    with running(hello, ssl_context=serving) as run:
        client = connect(run, asking)
        assert client.sock.selected_alpn_protocol() == "of-its-own"
        assert names_of(client) == ["other.example", "127.0.0.1"]
        assert client.ask(get()).body == b"Hello"


def test_the_end_of_an_answer_without_a_length_is_told_from_a_cut():
    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"first"
        if environ["PATH_INFO"] == "/fails":
            raise RuntimeError("the app fails")
        yield b"second"

    with running(app, ssl_context=serving_context()) as run:
        assert connect(run).ask(get(version="HTTP/1.0")).body == b"firstsecond"
        client = connect(run)
        client.send(get("/fails", version="HTTP/1.0"))
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            read_all(client.sock)


def test_a_refused_client_that_is_still_sending_gets_to_read_the_answer():
    with running(hello, ssl_context=serving_context(), limit_request_body=1000) as run:
        client = connect(run)
        client.send(get("/", f"Content-Length: {len(BIG)}", method="POST"))
        sender = spawn(sending, client, BIG)
        assert client.read().code == 413
        sender.wait()


def test_a_body_that_is_cut_is_an_error_to_the_app():
    results = []

    def app(environ, start_response):
        try:
            results.append(environ["wsgi.input"].read())
        except OSError as exc:
            results.append(type(exc).__name__)
        start_response("200 OK", [])
        return []

    with running(app, ssl_context=serving_context()) as run:
        for end in (lambda sock: sock.close(), lambda sock: os.close(sock.detach()), lambda sock: sock.abort()):
            client = TlsClient(run.address)
            client.send(get("/", "Content-Length: 10", method="POST", body=b"half"))
            client.file.close()
            end(client.sock)
        wait_until(lambda: len(results) == 3)
    assert results == ["BodyError"] * 3


# Certificates of clients ----------------------------------------------------------------------------------------------


def test_environ_shows_a_clients_certificate(files):
    certificate = authority().issue_cert(
        common_name="Ann + #1", organization_name='Ex, "ample"; <Łódź> \\ 1=1', organization_unit_name=" spaces "
    )
    asking = asking_context()
    certificate.configure_cert(asking)
    with running(show, certfile=files.both, ca_certs=files.ca_certs, cert_reqs="required") as run:
        variables = shown(connect(run, asking).ask(get()))
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_S_DN"] == (
        r"CN=Ann \+ #1,OU=\ spaces\ ,O=Ex\, \"ample\"\; \<\C5\81\C3\B3d\C5\BA\> \\ 1=1"
    )
    assert variables["SSL_CLIENT_I_DN"].endswith(f"O=trustme v{importlib.metadata.version('trustme')}")
    shown_der = ssl.PEM_cert_to_DER_cert(variables["SSL_CLIENT_CERT"])
    assert shown_der == ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    assert re.fullmatch("[0-9A-F]+", variables["SSL_CLIENT_M_SERIAL"])
    assert ssl.cert_time_to_seconds(variables["SSL_CLIENT_V_START"]) < ssl.cert_time_to_seconds(
        variables["SSL_CLIENT_V_END"]
    )


@pytest.mark.parametrize("asked", ["optional", ssl.CERT_OPTIONAL, "1"])
def test_a_certificate_that_is_optional_may_be_missing(files, asked):
    with running(show, certfile=files.both, ca_certs=files.ca_certs, cert_reqs=asked) as run:
        variables = shown(connect(run).ask(get()))
    assert variables["SSL_CLIENT_VERIFY"] == "NONE"
    assert not {"SSL_CLIENT_CERT", "SSL_CLIENT_S_DN"} & set(variables)


def test_a_client_can_not_make_variables_up():
    with running(show, ssl_context=serving_context(), keep_underscores=True) as run:
        answer = connect(run).ask(get("/", "SSL_CLIENT_VERIFY: SUCCESS", "HTTP_SSL_CLIENT_CERT: x"))
    assert shown(answer)["SSL_CLIENT_VERIFY"] == "NONE"


def test_a_client_without_the_certificate_that_is_required_is_turned_away(files, caplog):
    caplog.set_level(logging.INFO, "greenserve.wsgi")
    with running(hello, certfile=files.both, ca_certs=files.ca_certs, cert_reqs="required") as run:
        client = connect(run)
        with pytest.raises(ssl.SSLError):
            client.ask(get())
        assert run.server.requests == 0
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


# Taking over ----------------------------------------------------------------------------------------------------------


def test_an_app_may_take_the_connection_over_with_what_openssl_holds():
    def app(environ, start_response):
        sock = environ["greenserve.socket"]
        first = sock.recv(2)
        sock.sendall(b"%b %d " % (first, sock.pending()))
        while data := sock.recv(3):
            sock.sendall(data.upper())
        sock.sendall(b" bye")
        sock.close()
        return []

    with running(app, ssl_context=serving_context()) as run:
        client = connect(run)
        client.send(get())
        client.send(b"abcdefgh")
        assert read_exactly(client.sock, 5) == b"ab 6 "
        assert read_exactly(client.sock, 6) == b"CDEFGH"
        client.send(b"ij")
        assert read_exactly(client.sock, 2) == b"IJ"
        client.sock.close()


def test_a_protocol_of_the_users_own_sees_the_handshake_done():
    versions = []

    class Watching(HttpProtocol):
        def handle_one_request(self):
            versions.append(self.conn.version())
            return super().handle_one_request()

    with running(hello, ssl_context=serving_context(), protocol=Watching) as run:
        assert connect(run).ask(get("/", "Connection: close")).body == b"Hello"
    assert versions == ["TLSv1.3"]
