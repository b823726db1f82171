"""The PROXY protocol: its grammar, and connections that begin with it."""

from __future__ import annotations

import ipaddress
import logging
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greenserve
from greenserve.net.sockets import socketpair
from greenserve.wsgi.proxyprotocol import BadProxyHeader, ProxyHeader, parse_header, read_header
from tests.certificates import asking_context, serving_context
from tests.wsgi.raw import get, running

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(block=b"", *, command=0x21, family=0x11, length=None):
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def addresses(source, destination, source_port, destination_port):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + struct.pack("!HH", source_port, destination_port)


V4 = addresses("203.0.113.9", "198.51.100.1", 4711, 443)
V6 = addresses("2001:db8::9", "2001:db8::1", 4711, 443)


@pytest.mark.parametrize(
    ("data", "source", "destination"),
    [
        (b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", ("203.0.113.9", 4711), ("198.51.100.1", 443)),
        (b"PROXY TCP6 2001:DB8:0::9 2001:db8::1 0 65535\r\n", ("2001:db8::9", 0), ("2001:db8::1", 65535)),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", ("203.0.113.9", 1), ("::1", 2)),
        (b"PROXY UNKNOWN\r\n", None, None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None, None),
        (binary(V4), ("203.0.113.9", 4711), ("198.51.100.1", 443)),
        (binary(V4 + b"\x04\x00\x01x"), ("203.0.113.9", 4711), ("198.51.100.1", 443)),  # more than the addresses
        (binary(V6, family=0x21), ("2001:db8::9", 4711), ("2001:db8::1", 443)),
        (binary(V4, family=0x12), ("203.0.113.9", 4711), ("198.51.100.1", 443)),
        (binary(b"/a".ljust(108, b"\0") + b"/b".ljust(108, b"\0"), family=0x31), "/a", "/b"),
        (binary(b"", command=0x20, family=0), None, None),
        (binary(V4, command=0x20), None, None),
        (binary(b"", command=0x20), None, None),
        (binary(b"anything", family=0), None, None),
        (binary(V4, family=0x10), None, None),
    ],
)
def test_a_header_is_read_and_nothing_behind_it(data, source, destination):
    for rest in (b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", data):
        assert parse_header(data + rest) == ProxyHeader(len(data), source, destination)
    for end in range(len(data)):
        assert parse_header(data[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00",
        b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        b"PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::2 1 2\r\n",
        b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP6 ::1::2 ::2 1 2\r\n",
        b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY UNKNOWN x\rx\r\n",
        b"PROXY UNKNOWN x\0x\r\n",
        b"PROXY UNKNOWN " + b"x" * 200,
        b"PROXY TCP4 1.1.1.1\rx",
        b"PROXY TCP4 1.1.1.1\0",
        b"\r\n\r\n\x00\r\nQUIX\n",
        binary(V4, command=0x11),
        binary(V4, command=0x22),
        binary(V4, family=0x41),
        binary(V4, family=0x13),
        binary(V4[:-1]),
        binary(V4, family=0x21),
        binary(b"/a", family=0x31),
    ],
)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(BadProxyHeader):
        parse_header(data)


def test_only_the_version_that_was_asked_for_is_taken():
    line = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
    assert parse_header(line, "v1") is not None
    assert parse_header(binary(V4), "v2") is not None
    for data, version in ((line, "v2"), (binary(V4), "v1"), (line[:1], "v2"), (SIGNATURE[:1], "v1")):
        with pytest.raises(BadProxyHeader, match=f"than {version}"):
            parse_header(data, version)


@given(
    st.binary(max_size=60), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x0c"])
)
def test_any_bytes_are_a_header_the_beginning_of_one_or_refused(data, beginning):
    data = beginning + data
    try:
        whole = parse_header(data)
    except BadProxyHeader:
        whole = None
        refused = True
    else:
        refused = False
    for end in range(len(data)):
        try:
            part = parse_header(data[:end])
        except BadProxyHeader:
            assert refused  # what is wrong stays wrong
            return
        if part is not None:
            assert part == whole  # and what is complete stays so
            return


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535))
def test_what_a_proxy_writes_is_what_is_read(source, destination, source_port, destination_port):
    if source.version != destination.version:
        return
    expected = ((source, source_port), (destination, destination_port))
    line = f"PROXY TCP{source.version} {source} {destination} {source_port} {destination_port}\r\n".encode()
    block = addresses(source, destination, source_port, destination_port)
    for data in (line, binary(block, family=0x11 if source.version == 4 else 0x21)):
        header = parse_header(data)
        assert header is not None
        for (host, port), found in zip(expected, (header.source, header.destination)):
            mapped = getattr(host, "ipv4_mapped", None)
            assert (ipaddress.ip_address(found[0]), found[1]) == (mapped or host, port)


@pytest.mark.parametrize("data", [b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", binary(V4)])
def test_a_header_that_trickles_in_is_taken_and_what_follows_is_left(data):
    ours, theirs = socketpair()
    with ours, theirs:
        reading = greenserve.spawn(read_header, ours, "auto")
        for index in range(len(data)):
            theirs.sendall(data[index : index + 1])
            greenserve.sleep(0)
        theirs.sendall(b"next")
        assert reading.wait(5) == ProxyHeader(len(data), ("203.0.113.9", 4711), ("198.51.100.1", 443))
        assert ours.recv(100) == b"next"


def test_a_peer_that_leaves_in_the_middle_of_its_header_is_no_error():
    ours, theirs = socketpair()
    with ours:
        theirs.sendall(b"PROXY TC")
        theirs.close()
        assert read_header(ours, "auto") is None


# In the server -------------------------------------------------------------------------------------------------------


def tell(environ, start_response):
    start_response("200 OK", [])
    names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "PATH_INFO")
    return [" ".join(environ[name] for name in names).encode()]


@pytest.mark.parametrize("data", [b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", binary(V4)])
@pytest.mark.parametrize("version", ["auto", "exact"])
def test_a_connection_is_its_clients(data, version):
    exact = "v1" if data.startswith(b"PROXY") else "v2"
    with running(tell, proxy_protocol=exact if version == "exact" else version) as run:
        client = run.connect()
        assert client.ask(data + get("/1")).body == b"203.0.113.9 4711 198.51.100.1 443 /1"
        assert client.ask(get("/2")).body == b"203.0.113.9 4711 198.51.100.1 443 /2"


@pytest.mark.parametrize("data", [b"PROXY UNKNOWN\r\n", binary(command=0x20, family=0)])
def test_a_connection_of_the_proxys_own_keeps_its_addresses(data):
    with running(tell, proxy_protocol="auto") as run:
        client = run.connect()
        host, port = client.sock.getsockname()
        assert client.ask(data + get("/")).body == f"{host} {port} 127.0.0.1 {run.address[1]} /".encode()


def test_forwarded_fields_are_believed_if_the_proxys_client_is_a_trusted_one():
    line = b"PROXY TCP4 10.0.0.1 198.51.100.1 4711 443\r\n"
    field = "X-Forwarded-For: 203.0.113.9"
    for trusted, address in (("10.0.0.1", "203.0.113.9"), ("127.0.0.1", "10.0.0.1")):
        with running(tell, proxy_protocol="v1", forwarded_allow_ips=trusted) as run:
            assert run.ask(line + get("/", field)).body.split(b" ")[0] == address.encode()


@pytest.mark.parametrize("data", [get("/"), b"PROXY TCP4 a b 1 2\r\n" + get("/"), binary(V4, family=0x41) + get("/")])
def test_a_connection_that_begins_otherwise_is_closed_and_logged(data, caplog):
    with caplog.at_level(logging.INFO), running(tell, proxy_protocol="auto") as run:
        client = run.connect()
        client.send(data)
        assert client.is_closed()
        assert run.server.requests == 0
    assert [record.levelname for record in caplog.records if "PROXY" in record.getMessage()] == ["WARNING"]


def test_a_proxy_that_stalls_in_its_header_has_the_deadline_of_a_head():
    with running(tell, proxy_protocol="auto", head_timeout=0.1) as run:
        client = run.connect()
        client.send(b"PROXY TCP4")
        assert client.is_closed()


def test_from_who_is_no_proxy_no_header_is_expected_and_none_taken():
    with running(tell, proxy_protocol="auto", proxy_allow_from="10.0.0.1") as run:
        assert run.ask(get("/")).body.startswith(b"127.0.0.1 ")
        for data in (b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", binary(V4)):
            assert run.ask(data + get("/")).code == 400


@pytest.mark.parametrize("data", [b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n", binary(V4)])
@pytest.mark.parametrize("where", ["listener", "keyword"])
def test_the_header_stands_in_front_of_tls(data, where):
    context = serving_context()
    listener = greenserve.listen(("127.0.0.1", 0))
    keywords = {"ssl_context": context}
    if where == "listener":
        listener, keywords = greenserve.wrap_ssl(listener, context, server_side=True), {}
    with running(tell, listener, proxy_protocol="auto", **keywords) as run:
        plain = greenserve.connect(run.address)
        plain.sendall(data)
        with greenserve.wrap_ssl(plain, asking_context(), server_hostname="localhost") as sock:
            sock.sendall(get("/1"))
            assert b"203.0.113.9 4711 198.51.100.1 443 /1" in sock.recv(10_000)


def test_the_fuzzer_runs_and_breaks_nothing(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_proxies", "0.5", str(tmp_path), "--random"],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no invariant broken" in ran.stdout


def test_a_graceful_stop_does_not_wait_for_a_header():
    with running(tell, proxy_protocol="auto") as run:
        client = run.connect()
        run.server.stop()
        run.server.join()
        assert client.is_closed()
