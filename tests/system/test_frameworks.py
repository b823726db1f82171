"""Frameworks as guests: an application in each of five, as four clients see it through real sockets."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import greenserve
from tests.system.guests import FRAMEWORKS, blocks
from tests.wsgi.raw import running

DEADLINE = 30.0

# Nothing, one byte, what fits into one segment, the sizes at which something is done in another way, and some MB.
SIZES = [0, 1, 1000, 65536, 65537, 3_000_000]


@pytest.fixture(scope="module", params=FRAMEWORKS)
def guest(request: pytest.FixtureRequest) -> tuple[str, Callable[..., Any]]:
    return request.param, FRAMEWORKS[request.param]()


def body_of(size: int) -> bytes:
    return b"".join(blocks(size))


class Answer:
    """What a client got."""

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self.body = body


class Requests:
    """The library requests, with one session."""

    def __init__(self, directory: Path) -> None:
        self.session = requests.Session()

    def get(self, url: str) -> Answer:
        answer = self.session.get(url, timeout=DEADLINE)
        return Answer(answer.status_code, answer.content)

    def post(self, url: str, body: bytes, chunked: bool, headers: dict[str, str]) -> Answer:
        data: Any = pieces(body) if chunked else body
        answer = self.session.post(url, data=data, headers=headers, timeout=DEADLINE)
        return Answer(answer.status_code, answer.content)

    def close(self) -> None:
        self.session.close()


class Httpx:
    """The library httpx, with one client."""

    def __init__(self, directory: Path) -> None:
        self.client = httpx.Client(timeout=DEADLINE)

    def get(self, url: str) -> Answer:
        answer = self.client.get(url)
        return Answer(answer.status_code, answer.content)

    def post(self, url: str, body: bytes, chunked: bool, headers: dict[str, str]) -> Answer:
        answer = self.client.post(url, content=pieces(body) if chunked else body, headers=headers)
        return Answer(answer.status_code, answer.content)

    def close(self) -> None:
        self.client.close()


class Curl:
    """The program curl, which asks with ``Expect: 100-continue`` before it sends a large body."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("curl") is None:
            pytest.skip("needs curl")
        self.upload = directory / "upload"
        self.download = directory / "download"

    def get(self, url: str) -> Answer:
        return self._run(url)

    def post(self, url: str, body: bytes, chunked: bool, headers: dict[str, str]) -> Answer:
        self.upload.write_bytes(body)
        fields = {**headers, **({"Transfer-Encoding": "chunked"} if chunked else {})}
        options = [f"-H{name}: {value}" for name, value in fields.items()]
        return self._run("--data-binary", f"@{self.upload}", *options, url)

    def _run(self, *arguments: str) -> Answer:
        options = ["-sS", "-o", str(self.download), "-w", "%{http_code}", "--max-time", str(DEADLINE)]
        self.download.write_bytes(b"")
        done = run_program("curl", *options, *arguments)
        return Answer(int(done.stdout), self.download.read_bytes())

    def close(self) -> None:
        pass


def run_program(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


@pytest.fixture(params=[Requests, Httpx, Curl])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = request.param(tmp_path)
    yield made
    made.close()


def test_bodies_of_every_size_go_both_ways(guest: tuple[str, Callable[..., Any]], client: Any) -> None:
    _, app = guest
    with running(app) as run:
        base = f"http://127.0.0.1:{run.address[1]}"

        def visit() -> None:
            for size in SIZES:
                body = body_of(size)
                for route in ("bytes", "stream"):
                    answer = client.get(f"{base}/{route}?n={size}")
                    assert (answer.code, digest(answer.body)) == (200, digest(body)), (route, size)
                headers = {"Content-Type": "application/octet-stream"}
                answer = client.post(f"{base}/length", body, False, headers)
                assert (answer.code, answer.body) == (200, str(size).encode()), size
                answer = client.post(f"{base}/echo", body, False, headers)
                assert (answer.code, digest(answer.body)) == (200, digest(body)), size

        greenserve.execute(visit)
        assert run.server.requests == 4 * len(SIZES)
        assert run.server.failed == 0
        if not isinstance(client, Curl):
            assert run.server.accepted == 1  # all over one connection


def test_chunked_uploads_are_seen(guest: tuple[str, Callable[..., Any]], client: Any) -> None:
    name, app = guest
    if name == "bottle":
        pytest.skip("Bottle takes chunked bodies apart by itself, whatever the server says of its input")
    with running(app) as run:
        base = f"http://127.0.0.1:{run.address[1]}"

        def visit() -> None:
            for size in SIZES[1:]:
                headers = {"Content-Type": "application/octet-stream"}
                for route, expected in (("length", str(size).encode()), ("echo", body_of(size))):
                    answer = client.post(f"{base}/{route}", body_of(size), True, headers)
                    assert (answer.code, digest(answer.body)) == (200, digest(expected)), (route, size)

        greenserve.execute(visit)
        assert run.server.failed == 0


def test_forms_and_fields_reach_the_framework(guest: tuple[str, Callable[..., Any]], client: Any) -> None:
    _, app = guest
    with running(app) as run:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Field": "a, b"}
        url = f"http://127.0.0.1:{run.address[1]}/json"
        answer = greenserve.execute(client.post, url, b"name=J%C3%BCrgen&x=1", False, headers)
        assert (answer.code, json.loads(answer.body)) == (200, {"form": "Jürgen", "field": "a, b"})


@pytest.mark.skipif(shutil.which("ab") is None, reason="needs ab")
@pytest.mark.parametrize("options", [[], ["-k"]], ids=["a connection each", "kept alive"])
def test_ab_has_no_failed_request(guest: tuple[str, Callable[..., Any]], options: list[str], tmp_path: Path) -> None:
    _, app = guest
    upload = tmp_path / "upload"
    upload.write_bytes(body_of(10_000))
    with running(app) as run:
        base = f"http://127.0.0.1:{run.address[1]}"
        for arguments in (
            [f"{base}/bytes?n=1000"],
            [f"{base}/stream?n=100000"],
            ["-p", str(upload), "-T", "application/octet-stream", f"{base}/echo"],
        ):
            done = greenserve.execute(run_program, "ab", "-q", "-n", "60", "-c", "6", *options, *arguments)
            assert re.search(r"^Complete requests: +60$", done.stdout, re.MULTILINE), done.stdout
            assert re.search(r"^Failed requests: +0$", done.stdout, re.MULTILINE), done.stdout
            assert "Non-2xx" not in done.stdout
        assert run.server.failed == 0


def digest(body: bytes) -> str:
    """A short value to compare: pytest would show megabytes."""
    return f"{len(body)}:{hashlib.sha256(body).hexdigest()}"
