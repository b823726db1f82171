"""httpx and aiohttp call a server of ours in the same OS thread, many times at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp
import httpx
import pytest

import greenserve
from greenserve import aio
from greenserve.testing import serve
from tests.aio.clients import CLIENTS, DELAY, EXPECTED, MOST, make_app
from tests.patched.running import run_script


@pytest.fixture
def base() -> Iterator[str]:
    with serve(make_app(greenserve.sleep)) as (host, port):
        yield f"http://{host}:{port}"


@pytest.mark.parametrize("name", CLIENTS)
def test_many_calls_of_a_client_take_little_longer_than_one(name: str, base: str) -> None:
    aio.await_(CLIENTS[name](base))  # what a client loads when it is first used is not its calls'
    began = time.monotonic()
    assert aio.await_(CLIENTS[name](base)) == EXPECTED
    assert time.monotonic() - began < MOST


def test_green_threads_share_a_clients_connections(base: str) -> None:
    async def make() -> httpx.AsyncClient:
        return httpx.AsyncClient(verify=False, trust_env=False)

    async def fetch(number: int) -> str:
        return (await client.get(f"{base}/{number}")).text

    client = aio.await_(make())
    try:
        threads = [greenserve.spawn(aio.await_, fetch(number)) for number in range(10)]
        assert [thread.wait(10) for thread in threads] == EXPECTED[:10]
    finally:
        aio.await_(client.aclose())


def test_a_clients_own_timeout_works(base: str) -> None:
    async def fetch() -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DELAY / 10)) as session:
            await session.get(base)

    with pytest.raises(asyncio.TimeoutError):  # before Python 3.11 it is another class
        aio.await_(fetch())


@pytest.mark.parametrize("name", CLIENTS)
def test_many_calls_of_a_client_take_little_longer_than_one_in_a_patched_program(name: str) -> None:
    assert (
        run_script(
            f"""
        import asyncio, socket, threading, time
        from greenserve import wsgi
        from tests.aio.clients import CLIENTS, EXPECTED, MOST, make_app

        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        server = wsgi.Server(listener, make_app(time.sleep))
        server.start()
        base = "http://127.0.0.1:%d" % listener.getsockname()[1]

        asyncio.run(CLIENTS[{name!r}](base))
        began = time.monotonic()
        print(asyncio.run(CLIENTS[{name!r}](base)) == EXPECTED, time.monotonic() - began < MOST)

        results = []
        threads = [threading.Thread(target=lambda: results.append(asyncio.run(CLIENTS[{name!r}](base))))
                   for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(results == [EXPECTED, EXPECTED])
        server.stop(0)
        server.join()
        """
        )
        == "True True\nTrue\n"
    )
