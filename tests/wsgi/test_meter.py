"""What the server counts of each request, when it is given a meter."""

from __future__ import annotations

from time import monotonic

import pytest

import greenserve
from greenserve.wsgi.meter import BOUNDS, UNTIMED, Meter, find_bucket
from tests.wsgi.raw import get, running


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise ValueError
    if path == "/taken":
        environ["greenserve.socket"].sendall(b"mine")
        return []
    if path == "/slow":
        greenserve.sleep(0.03)
    if path == "/read":
        environ["wsgi.input"].read()
    if path == "/line":
        environ["wsgi.input"].readline()
    start_response("404 Not Found" if path == "/absent" else "200 OK", [("Content-Type", "text/plain")])
    return [b"Hello"]


def count(*requests):
    with running(app, log_output=False) as run:
        meter = run.server.meter = Meter()
        for request in requests:
            client = run.connect()
            client.send(request)
            client.send_end()
            client.read_rest()
    return meter


def statuses(meter):
    return {status: number for status, number in enumerate(meter.by_status) if number}


def test_answers_are_counted_by_their_status(caplog):
    meter = count(get("/"), get("/"), get("/absent"), get("/fail"))
    assert statuses(meter) == {200: 2, 404: 1, 500: 1}


def test_a_refusal_counts_by_its_status_and_says_nothing_about_time():
    meter = count(b"GET / HTTP/1.1\r\n\r\n")
    assert statuses(meter) == {400: 1}
    assert sum(meter.buckets) == 0


def test_a_connection_that_was_taken_over_says_nothing_about_time():
    meter = count(get("/taken"))
    assert statuses(meter) == {101: 1}
    assert sum(meter.buckets) == 0


def test_each_request_is_in_the_bucket_of_its_time():
    meter = count(get("/slow"))
    assert sum(meter.buckets) == 1
    assert meter.buckets.index(1) >= BOUNDS.index(0.05)
    assert 0.03 <= meter.seconds < 10


@pytest.mark.parametrize(("seconds", "index"), [(0.0, 0), (0.0001, 0), (0.00011, 1), (60.0, -2), (61.0, -1)])
def test_a_time_is_in_the_first_bucket_whose_bound_it_does_not_exceed(seconds, index):
    buckets = [0] * (len(BOUNDS) + 1)
    buckets[find_bucket(BOUNDS, seconds)] += 1
    assert buckets[index] == 1


def test_answers_add_up_by_status_and_by_time():
    meter = Meter()
    meter.answers[200][0] = 5
    meter.answers[200][3] = 4
    meter.answers[404][3] = 1
    meter.answers[101][UNTIMED] = 2
    assert statuses(meter) == {200: 9, 404: 1, 101: 2}
    assert meter.buckets == [5, 0, 0, 5] + [0] * (len(BOUNDS) - 3)


def test_bytes_of_bodies_are_counted_both_ways():
    meter = count(get("/read", "Content-Length: 7", method="POST", body=b"1234567"), get("/"))
    assert meter.bytes_in == 7
    assert meter.bytes_out == 10


@pytest.mark.parametrize(("path", "read"), [("/read", 5), ("/line", 2), ("/", 0)])
@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("Content-Length: 5", b"a\nbcd"),
        ("Transfer-Encoding: chunked", b"3;x=y\r\na\nb\r\n2\r\ncd\r\n0\r\nA: b\r\n\r\n"),
    ],
)
def test_a_body_counts_as_far_as_the_app_has_read_it_and_without_what_frames_it(path, read, field, body):
    assert count(get(path, field, method="POST", body=body)).bytes_in == read


def test_a_request_that_runs_says_since_when():
    seen = []

    def look(environ, start_response):
        (protocol,) = run.server.connections
        seen.append(protocol.started)
        start_response("200 OK", [])
        return [b""]

    with running(look, log_output=False) as run:
        run.ask(get())
        run.server.meter = Meter()
        run.clients[0].close()
        greenserve.sleep(0)
        run.ask(get())
    assert seen[0] == 0.0
    assert seen[-1] > 0.0


@pytest.mark.parametrize("early", [b"\r\n", b"G", get()[:-1]])
def test_a_request_behind_another_one_has_been_there_since_its_last_bytes_came(early):
    """And not since the answer before it: what the client lets the server wait for is not the server's time."""
    seen = []

    def look(environ, start_response):
        (protocol,) = run.server.connections
        seen.append(protocol.started)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    with running(look, log_output=False) as run:
        run.server.meter = Meter()
        client = run.connect()
        client.send(get() + early)
        client.read()
        later = monotonic()
        client.send(get() if early == b"\r\n" else get()[len(early) :])
        client.read()
    assert seen[0] < later <= seen[1]
