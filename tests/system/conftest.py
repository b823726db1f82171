"""The database servers, each started when a test first asks for it. A fixture's value is the server's port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import servers


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    with servers.redis() as port:
        yield port


@pytest.fixture(scope="session")
def postgres_port() -> Iterator[int]:
    with servers.postgres() as port:
        yield port


@pytest.fixture(scope="session")
def mariadb_port() -> Iterator[int]:
    with servers.mariadb() as port:
        yield port
