from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.errors import BenchmarkError
from benchmarks.rawhttp import (
    COUNTER,
    browser_request,
    check_server,
    exchange,
    head_and_length,
    minimal_request,
)

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


@pytest.fixture
def pair():
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.settimeout(5)
        yield ours, peer


@pytest.mark.parametrize(
    ("request_bytes", "fields"),
    [(minimal_request(80), 1), (browser_request(80), 13), (browser_request(80, changing=True), 13)],
)
def test_request_has_the_number_of_fields_that_its_case_promises(request_bytes, fields):
    request_line, *lines, end, nothing = request_bytes.split(b"\r\n")
    assert request_line == b"GET / HTTP/1.1"
    assert (end, nothing) == (b"", b"")
    assert len({line.partition(b":")[0].lower() for line in lines}) == len(lines) == fields


def test_two_fields_change_and_no_other_does():
    steady, changing = browser_request(80), browser_request(80, changing=True)
    assert sum(COUNTER in line for line in changing.split(b"\r\n")) == 2
    assert changing.replace(COUNTER, b"1") == steady


@given(st.integers(0, len(ANSWER) - 6))
def test_head_is_incomplete_until_its_last_byte(end):
    assert head_and_length(ANSWER[:end]) is None


@given(st.binary())
def test_length_counts_head_and_body_whatever_follows(rest):
    assert head_and_length(ANSWER + rest) == (ANSWER[:-5], len(ANSWER))


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Content-Length: 1\r\n\r\n",
        b"HTTP/2 200\r\nContent-Length: 1\r\n\r\n",
    ],
)
def test_head_without_a_length_is_refused(data):
    with pytest.raises(BenchmarkError, match="Content-Length"):
        head_and_length(data)


def test_exchange_returns_the_response_when_it_comes_in_parts(pair):
    ours, peer = pair
    peer.sendall(ANSWER[:20])
    sender = threading.Thread(target=lambda: (peer.recv(100), peer.sendall(ANSWER[20:])))
    sender.start()
    response = exchange(ours, b"GET / HTTP/1.1\r\n\r\n")
    sender.join(5)
    assert (response.status, response.body) == (200, b"hello")
    assert response.fields == {"content-type": "text/plain", "content-length": "5"}


@pytest.mark.parametrize("answer", [ANSWER[:-1], ANSWER[:10], b""])
def test_exchange_refuses_a_response_cut_short(pair, answer):
    ours, peer = pair
    peer.sendall(answer)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(BenchmarkError, match="connection ended"):
        exchange(ours, b"x")


def test_exchange_refuses_bytes_after_the_response(pair):
    ours, peer = pair
    peer.sendall(ANSWER + b"more")
    with pytest.raises(BenchmarkError, match="4 bytes follow"):
        exchange(ours, b"x")


@pytest.mark.parametrize(
    ("answers", "passes"),
    [
        ([ANSWER, ANSWER], True),
        ([ANSWER], False),
        ([ANSWER, ANSWER.replace(b"200 OK", b"500 No")], False),
        ([ANSWER, ANSWER.replace(b"hello", b"HELLO")], False),
        ([ANSWER.replace(b"text/plain", b"text/html")] * 2, False),
    ],
)
def test_server_must_give_the_right_answer_twice_on_one_connection(answers, passes):
    def serve():
        conn, _ = listener.accept()
        with conn:
            for answer in answers:
                conn.recv(1000)
                conn.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        server = threading.Thread(target=serve)
        server.start()
        arguments = (listener.getsockname()[1], minimal_request(80), "text/plain", b"hello")
        try:
            if passes:
                check_server(*arguments)
            else:
                with pytest.raises((BenchmarkError, OSError)):
                    check_server(*arguments)
        finally:
            server.join(5)
