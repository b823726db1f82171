"""Programs that know nothing of greenserve, patched, for thousands of rounds: nothing hangs, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import greenserve
from greenserve.testing import serve
from tests.cli.running import Command, environment

# Each program has a deadline of its own, which ends it.
pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PROGRAMS = Path(__file__).parent / "programs"
DEADLINE = 100.0

ROUNDS = 2000
PAGES = 1000  # of an application, each of which is several requests or queries


def run(*command: str, **variables: str) -> str:
    """Run a program by ``python -m greenserve.monkey``, and return what it prints. It must complain of nothing."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "greenserve.monkey", *command],
        cwd=PROGRAMS,
        env={**environment(), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def served(app: str, tmp_path: Path, **variables: str) -> Iterator[Command]:
    """Serve a program by the command, which patches it."""
    env = {**environment(), **variables}
    command = Command(
        app, "--bind", "127.0.0.1:0", cwd=PROGRAMS, stderr=tmp_path / "stderr", env=env, lifetime=DEADLINE
    )
    try:
        yield command
        assert command.stop()[0] == 0
    finally:
        command.close()


def crawl(port: int, count: int) -> None:
    assert run("crawl.py", f"http://127.0.0.1:{port}", str(count)) == f"{count}\n"


def test_a_crawler_on_concurrent_futures() -> None:
    asked: Counter[str] = Counter()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked[environ["PATH_INFO"]] += 1
        number = int(environ["PATH_INFO"].rpartition("/")[2])
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"page": number, "links": [2 * number + 1, 2 * number + 2]}).encode()]

    with serve(app) as address:
        greenserve.execute(crawl, address[1], ROUNDS)
    assert asked == {f"/page/{number}": 1 for number in range(ROUNDS)}


def test_a_flask_app_with_requests_and_redis(redis_port: int, tmp_path: Path) -> None:
    with served("shop:app", tmp_path, REDIS_PORT=str(redis_port)) as command:
        crawl(command.ports[0], PAGES)
        assert json.loads(command.get("/total")) == {"pages": PAGES, "visits": PAGES, "stock": PAGES}


def test_a_django_project_with_its_orm_on_postgresql(postgres_port: int, tmp_path: Path) -> None:
    variables = {"POSTGRES_PORT": str(postgres_port), "DJANGO_SETTINGS_MODULE": "library.settings"}
    run("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0", **variables)
    with served("library.wsgi:application", tmp_path, **variables) as command:
        crawl(command.ports[0], PAGES)
        assert json.loads(command.get("/total")) == {"pages": PAGES, "hits": PAGES}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes(method: str) -> None:
    squares = sum(number * number for number in range(ROUNDS))
    assert run("pools.py", method, str(ROUNDS)) == f"{squares} {ROUNDS // 10 * 5} True\n"


def test_logging_from_signal_handlers_and_finalizers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    signals = int(run("loud.py", str(log), str(ROUNDS)))
    told = Counter(line.split()[-1] for line in log.read_text().splitlines())
    assert signals >= ROUNDS // 10
    assert told["signal"] == signals
    assert told["thread"] == told["finalizer"] >= ROUNDS
    assert told.keys() == {"signal", "thread", "finalizer"}
