"""Each request's id: taken if it is sane, else made; in environ, in the answer and in the log."""

from __future__ import annotations

import io
import re

import pytest

from greenserve.wsgi.requestids import REQUEST_ID, give_request_ids
from tests.wsgi.raw import get, running


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ[REQUEST_ID]} {environ['HTTP_X_REQUEST_ID']}".encode()]


@pytest.mark.parametrize(
    "given", ["a", "7f0c6a52-4a8e-4d4e-9f6c-1d2b3c4d5e6f", "Root=1-67891233-abcdef012345678912345678", "x" * 128]
)
def test_an_id_that_came_is_kept(given):
    with running(give_request_ids(app), log_output=False) as run:
        answer = run.ask(get("/", f"X-Request-ID: {given}"))
    assert answer.body == f"{given} {given}".encode()
    assert answer.fields["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", 'a"b', "x" * 129, "caf\xe9", "a,b"])
def test_another_one_is_made_for_what_is_none(given):
    with running(give_request_ids(app), log_output=False) as run:
        answer = run.ask(get("/", f"X-Request-ID: {given}"))
    made = answer.fields["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)
    assert answer.body == f"{made} {made}".encode()


def test_each_request_of_a_connection_has_its_own():
    lines = io.StringIO()
    with running(give_request_ids(app), log=lines, log_format="%({greenserve.request_id}e)s") as run:
        client = run.connect()
        ids = [client.ask(get()).fields["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert lines.getvalue().splitlines() == ids


def test_an_app_that_answers_with_an_id_has_the_last_word():
    def own(environ, start_response):
        start_response("200 OK", [("x-request-id", "mine")])
        return [b""]

    with running(give_request_ids(own), log_output=False) as run:
        answer = run.ask(get())
    assert [value for name, value in answer.raw_fields if name.lower() == b"x-request-id"] == [b"mine"]
