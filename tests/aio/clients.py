"""Asynchronous HTTP clients that make many calls at once. Imported by tests, and by the scripts that they run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aiohttp
import httpx

COUNT = 50
DELAY = 0.2

# They take well under a second on a machine that does nothing else; one after another they would take ten.
MOST = COUNT * DELAY / 4


def make_app(sleep: Callable[[float], Any]) -> Callable[..., Iterable[bytes]]:
    """Return an app that answers with its path, after a while."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        sleep(DELAY)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode()]

    return app


async def fetch_with_httpx(base: str) -> list[str]:
    # Without `verify` it does not read all certificates of the system's first.
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, verify=False, trust_env=False) as client:

        async def fetch(number: int) -> str:
            return (await client.get(f"{base}/{number}")).text

        return await asyncio.gather(*map(fetch, range(COUNT)))


async def fetch_with_aiohttp(base: str) -> list[str]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def fetch(number: int) -> str:
            async with session.get(f"{base}/{number}") as response:
                return await response.text()

        return await asyncio.gather(*map(fetch, range(COUNT)))


CLIENTS: dict[str, Callable[[str], Awaitable[list[str]]]] = {"httpx": fetch_with_httpx, "aiohttp": fetch_with_aiohttp}

# What each of them returns.
EXPECTED = [f"/{number}" for number in range(COUNT)]
