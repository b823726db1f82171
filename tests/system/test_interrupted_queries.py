"""Whoever gives up waiting for an answer leaves nothing of it to the next one who uses the pool."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.patched.running import run_script

pytestmark = pytest.mark.system


class Pooled(NamedTuple):
    """A pool of connections to a server. ``ask(number, seconds)`` gets ``number`` back after so many seconds."""

    server: str
    script: str


_DB_POOL = """
import {module} as driver
from greenserve.db_pool import RawConnectionPool
pool = RawConnectionPool(driver, max_size=2, host="127.0.0.1", port=PORT, {options})

def ask(number, seconds):
    with pool.item() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT {sleep}(%s), %s", (seconds, number))
        return int(cursor.fetchone()[1])
"""

_SQLALCHEMY = """
import sqlalchemy
engine = sqlalchemy.create_engine(f"{url}", pool_size=2, max_overflow=0)
query = sqlalchemy.text("SELECT {sleep}(:seconds), :number")

def ask(number, seconds):
    with engine.connect() as connection:
        return int(connection.execute(query, {{"seconds": seconds, "number": number}}).one()[1])
"""

_POSTGRES = "user='greenserve', {}='postgres'"

POOLS = {
    "psycopg": Pooled(
        "postgres", _DB_POOL.format(module="psycopg", options=_POSTGRES.format("dbname"), sleep="pg_sleep")
    ),
    "psycopg2": Pooled(
        "postgres", _DB_POOL.format(module="psycopg2", options=_POSTGRES.format("dbname"), sleep="pg_sleep")
    ),
    "pg8000": Pooled(
        "postgres", _DB_POOL.format(module="pg8000.dbapi", options=_POSTGRES.format("database"), sleep="pg_sleep")
    ),
    "PyMySQL": Pooled(
        "mariadb", _DB_POOL.format(module="pymysql", options="user='root', database='mysql'", sleep="SLEEP")
    ),
    "SQLAlchemy with psycopg": Pooled(
        "postgres",
        _SQLALCHEMY.format(url="postgresql+psycopg://greenserve@127.0.0.1:{PORT}/postgres", sleep="pg_sleep"),
    ),
    "SQLAlchemy with PyMySQL": Pooled(
        "mariadb", _SQLALCHEMY.format(url="mysql+pymysql://root@127.0.0.1:{PORT}/mysql", sleep="SLEEP")
    ),
    "redis-py": Pooled(
        "redis",
        """
import redis
client = redis.Redis(connection_pool=redis.BlockingConnectionPool(host="127.0.0.1", port=PORT, max_connections=2))

def ask(number, seconds):
    pipe = client.pipeline(transaction=False)
    if seconds:
        pipe.blpop("nothing", seconds)
    pipe.echo(str(number))
    return int(pipe.execute()[-1])
""",
    ),
}

SCRIPT = """
from greenserve import Timeout, spawn

def interrupt(number):
    wrong = 0
    for seconds in (0.0005, 0.002, 0.01, 0.03):
        try:
            with Timeout(seconds):
                ask(-1, 0.05)
        except Timeout:
            pass
        wrong += ask(number, 0) != number
    return wrong

ask(0, 0)
with Timeout(30):
    print([thread.wait() for thread in [spawn(interrupt, number) for number in range(1, 9)]])
"""


@pytest.mark.parametrize("name", POOLS)
def test_the_next_query_gets_its_own_answer(name: str, request: pytest.FixtureRequest) -> None:
    pooled = POOLS[name]
    port = request.getfixturevalue(f"{pooled.server}_port")
    assert run_script(f"PORT = {port}\n{pooled.script}{SCRIPT}") == f"{[0] * 8}\n"
