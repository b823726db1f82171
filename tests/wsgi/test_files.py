"""``wsgi.file_wrapper`` with every kind of file, and lengths that are not the file's (PEP 3333)."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tempfile
from contextlib import closing

import pytest

import greenserve
from greenserve.wsgi import HttpProtocol
from tests.wsgi.raw import get, running

SIZES = [0, 1, 16383, 16384, 1_000_000]


def wrapping(open_file, headers=(), *args):
    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](open_file(), *args)

    return app


def content(size: int) -> bytes:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def unseekable(data):
    """A file that can be read and nothing else."""

    class Reader:
        def __init__(self):
            self._file = io.BytesIO(data)

        def read(self, size=-1):
            return self._file.read(size)

    return Reader()


def pipe(data):
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return open(reader, "rb")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize(
    "kind", ["rb", "r+b", "unbuffered", "BytesIO", "no fileno", "temporary", "gzip", "moved on", "block size"]
)
def test_a_file_arrives_whole_and_the_connection_goes_on(path, kind, version, size):
    data = content(size)
    path.write_bytes(data)

    def moved_on():
        path.write_bytes(b"head" + data)
        file = path.open("rb")
        file.read(1)
        file.seek(4)
        return file

    def temporary():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(data)
        file.seek(0)
        return file

    def compressed():
        path.write_bytes(gzip.compress(data))
        return gzip.open(path)

    open_file = {
        "rb": lambda: path.open("rb"),
        "r+b": lambda: path.open("r+b"),
        "unbuffered": lambda: path.open("rb", 0),
        "BytesIO": lambda: io.BytesIO(data),
        "no fileno": lambda: unseekable(data),
        "temporary": temporary,
        "gzip": compressed,
        "moved on": moved_on,
        "block size": lambda: path.open("rb"),
    }[kind]
    app = wrapping(open_file, (), *([1000] if kind == "block size" else []))
    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            answer = client.ask(get("/", "Connection: keep-alive", version=version))
            assert answer.body == data
            if answer.fields.get("connection") == "close":
                assert version == "HTTP/1.0"
                client = run.connect()


def test_a_pipe_arrives_whole():
    with running(wrapping(lambda: pipe(content(20_000)))) as run:
        assert run.ask(get()).body == content(20_000)


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_length_below_the_files_ends_the_body_there(path, size, method):
    path.write_bytes(content(size))
    app = wrapping(lambda: path.open("rb"), [("Content-Length", str(size - 10))])
    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            answer = client.ask(get(method=method), method)
            assert answer.fields["content-length"] == str(size - 10)
            assert answer.body == (content(size)[:-10] if method == "GET" else b"")


@pytest.mark.parametrize("size", [0, 100, 100_000])
def test_a_length_above_the_files_cuts_the_connection(path, size, caplog):
    path.write_bytes(content(size))
    with running(wrapping(lambda: path.open("rb"), [("Content-Length", str(size + 10))])) as run:
        client = run.connect()
        client.send(get())
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read()
    assert "10 bytes shorter than its Content-Length" in caplog.text


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(path, caplog):
    size = 50_000_000
    with path.open("wb") as file:
        file.truncate(size)
    with running(wrapping(lambda: path.open("rb"))) as run:
        client = run.connect()
        client.send(get())
        client.read_head()
        client.file.read(1000)
        os.truncate(path, size // 2)
        with pytest.raises((EOFError, ConnectionResetError)):
            if len(client.file.read(size - 1000)) < size - 1000:
                raise EOFError


def test_a_file_that_grows_is_sent_up_to_where_it_ended(path):
    path.write_bytes(content(100_000))

    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "100000")])
        file = path.open("rb")
        with path.open("ab") as more:
            more.write(b"more" * 1000)
        return environ["wsgi.file_wrapper"](file)

    with running(app) as run:
        client = run.connect()
        assert [client.ask(get()).body for _ in range(2)] == [content(100_000)] * 2


def test_a_text_file_is_a_500_with_a_reason_in_the_log(path, caplog):
    path.write_text("text")
    with running(wrapping(path.open)) as run:
        assert run.ask(get()).code == 500
    assert "must be bytes" in caplog.text


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_the_file_is_closed_whether_it_is_sent_or_not(path, size, method, status):
    path.write_bytes(content(size))
    files = []

    def app(environ, start_response):
        start_response(status, [])
        files.append(path.open("rb"))
        return environ["wsgi.file_wrapper"](files[-1])

    with running(app) as run:
        client = run.connect()
        for _ in range(2):
            client.ask(get(method=method), method)
        assert len(files) == 2
        assert files[0].closed
    assert files[1].closed


def test_the_file_is_closed_when_the_client_leaves(path):
    with path.open("wb") as file:
        file.truncate(50_000_000)
    closed = greenserve.Event()

    class Watched(io.FileIO):
        def close(self):
            super().close()
            if not closed.ready():
                closed.send()

    with running(wrapping(lambda: Watched(path))) as run:
        client = run.connect()
        client.send(get())
        client.file.read(1000)
        client.reset()
        closed.wait(5)


def test_what_was_written_before_the_file_comes_before_it(path):
    path.write_bytes(content(100_000))

    def app(environ, start_response):
        start_response("200 OK", [])(b"before")
        return environ["wsgi.file_wrapper"](path.open("rb"))

    with running(app) as run:
        client = run.connect()
        assert [client.ask(get()).body for _ in range(2)] == [b"before" + content(100_000)] * 2


def test_a_wrapper_without_start_response_is_a_500(path, caplog):
    path.write_bytes(content(100_000))
    with running(lambda environ, start_response: environ["wsgi.file_wrapper"](path.open("rb"))) as run:
        assert run.ask(get()).code == 500


def test_a_wrapper_may_stand_under_middleware_that_iterates(path):
    path.write_bytes(content(100_000))

    def app(environ, start_response):
        start_response("200 OK", [])
        with closing(environ["wsgi.file_wrapper"](path.open("rb"), 1000)) as blocks:
            for block in blocks:
                yield block[::-1]

    expected = b"".join(content(100_000)[start : start + 1000][::-1] for start in range(0, 100_000, 1000))
    with running(app) as run:
        assert run.ask(get()).body == expected


class NoSendfile(greenserve.GreenSocket):
    """On a system, or for a file, where the system can't send files by itself."""

    __slots__ = ("number",)

    def sendfile_some(self, fd, offset, count):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EIO])
@pytest.mark.parametrize("headers", [[], [("Content-Length", "70000")]])
def test_what_the_system_can_not_send_is_read_and_a_bad_disk_is_no_clients_fault(path, headers, number, caplog):
    path.write_bytes(b"head" + content(100_000))

    class Mine(HttpProtocol):
        def use(self, conn):
            sock = NoSendfile(fileno=conn.detach())
            sock.number = number
            super().use(sock)

    def open_file():
        file = path.open("rb")
        file.seek(4)
        return file

    with running(wrapping(open_file, headers), protocol=Mine) as run:
        client = run.connect()
        if number == errno.EIO:
            client.send(get())
            with pytest.raises((EOFError, ConnectionResetError)):
                client.read()
        else:
            expected = content(100_000)[:70_000] if headers else content(100_000)
            assert [client.ask(get()).body for _ in range(2)] == [expected] * 2
    failures = [record.exc_info[1].errno for record in caplog.records if record.exc_info]
    assert failures == ([errno.EIO] if number == errno.EIO else [])


def test_a_file_of_any_size_comes_with_its_length(path):
    for size in SIZES:
        path.write_bytes(content(size))
        with running(wrapping(lambda: path.open("rb"))) as run:
            assert run.ask(get()).fields["content-length"] == str(size)
