"""``wsgi.input`` as apps read it, over real sockets, against a ``BytesIO`` with the same bytes (PEP 3333)."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wsgi.raw import get, running

LINES = b"one\ntwo two\r\n\nfour" + b"x" * 100 + b"\n" + b"y" * 9000 + b"\nlast"

READS = {
    "read()": lambda body: body.read(),
    "read(-1)": lambda body: body.read(-1),
    "read(None)": lambda body: body.read(None),
    "read(0)": lambda body: body.read(0),
    "read(5) twice": lambda body: [body.read(5), body.read(5)],
    "read(7) to the end": lambda body: list(iter(lambda: body.read(7), b"")),
    "read(more)": lambda body: body.read(1_000_000),
    "readline()": lambda body: [body.readline() for _ in range(8)],
    "readline(-1)": lambda body: [body.readline(-1) for _ in range(8)],
    "readline(None)": lambda body: [body.readline(None) for _ in range(8)],
    "readline(0)": lambda body: [body.readline(0), body.readline()],
    "readline(2)": lambda body: [body.readline(2) for _ in range(10)],
    "readlines()": lambda body: body.readlines(),
    "readlines(1)": lambda body: [body.readlines(1), body.readlines(1)],
    "readlines(6)": lambda body: [body.readlines(6), body.readlines()],
    "readlines(0)": lambda body: body.readlines(0),
    "readlines(None)": lambda body: body.readlines(None),
    "for": list,
    "line then rest": lambda body: [body.readline(), body.read()],
    "rest then again": lambda body: [body.read(), body.read(), body.readline(), body.readlines(), body.read(1)],
}


def framed(body: bytes, is_chunked: bool, size: int = 7) -> bytes:
    if not is_chunked:
        return get("/", f"Content-Length: {len(body)}", method="POST", body=body)
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return get("/", "Transfer-Encoding: chunked", method="POST", body=chunks + b"0\r\n\r\n")


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    "body", [LINES, b"", b"\n", b"no end of line"], ids=["lines", "empty", "newline", "no newline"]
)
@pytest.mark.parametrize("name", READS)
def test_every_way_to_read_gives_what_a_file_would(name, body, is_chunked):
    read = READS[name]
    seen = []

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/":
            seen.append(read(environ["wsgi.input"]))
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with running(app) as run:
        client = run.connect()
        client.send(framed(body, is_chunked) + get("/behind"))
        rest = client.read().body
        file = io.BytesIO(body)
        assert seen == [read(file)]
        assert rest == file.read()
        assert client.read().code == 200


@given(
    body=st.binary(max_size=200) | st.text("a\n", max_size=50).map(str.encode),
    size=st.integers(1, 60),
    is_chunked=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "readline", "readlines"]), st.none() | st.integers(-1, 50)), max_size=8
    ),
    data=st.data(),
)
def test_any_sequence_of_reads_of_a_body_that_comes_in_pieces_gives_what_a_file_would(
    body, size, is_chunked, steps, data
):
    seen = []

    def app(environ, start_response):
        seen.extend(getattr(environ["wsgi.input"], step)(argument) for step, argument in steps)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    wire = framed(body, is_chunked, size)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    file = io.BytesIO(body)
    expected = [getattr(file, step)(argument) for step, argument in steps]
    with running(app) as run:
        client = run.connect()
        for start, end in zip([0, *cuts], [*cuts, len(wire)]):
            client.send(wire[start:end])
        assert client.read().body == file.read()
    assert seen == expected


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("wrap", [io.BufferedReader, lambda body: io.TextIOWrapper(body, "latin-1", newline="")])
def test_the_standard_librarys_files_can_wrap_it(wrap, is_chunked):
    def app(environ, start_response):
        lines = list(wrap(environ["wsgi.input"]))
        start_response("200 OK", [])
        return [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]

    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            assert client.ask(framed(LINES, is_chunked)).body == LINES


def test_a_request_without_a_body_has_an_empty_input():
    def app(environ, start_response):
        body = environ["wsgi.input"]
        seen = [body.read(), body.read(10), body.readline(), body.readlines(), list(body), body.read1()]
        start_response("200 OK", [])
        return [repr(seen).encode()]

    with running(app) as run:
        client = run.connect()
        for request in (get(), get("/", method="DELETE"), get("/", "Content-Length: 0", method="POST")):
            assert client.ask(request).body == b"[b'', b'', b'', [], [], b'']"


def test_the_body_may_be_read_in_another_green_thread_and_replaced_in_environ():
    def app(environ, start_response):
        body = environ["wsgi.input"]
        environ["wsgi.input"] = None
        start_response("200 OK", [])
        return [body.read(3)]

    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            assert client.ask(framed(b"abcdef", is_chunked=False)).body == b"abc"


def test_discard_leaves_nothing_to_read():
    def app(environ, start_response):
        environ["wsgi.input"].read(2)
        environ["eventlet.input"].discard()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    with running(app) as run:
        client = run.connect()
        for is_chunked in (False, True):
            assert client.ask(framed(LINES, is_chunked)).body == b""


def test_wsgi_input_stays_usable_while_the_answer_streams():
    def app(environ, start_response):
        start_response("200 OK", [])
        for line in environ["wsgi.input"]:
            yield line.upper()

    with running(app) as run:
        client = run.connect()
        for is_chunked in (False, True):
            assert client.ask(framed(LINES, is_chunked)).body == LINES.upper()
