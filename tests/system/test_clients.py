"""Clients and drivers as they are, in a patched process, against real servers that take their time to answer."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

import greenserve
from greenserve.testing import serve
from tests.patched.running import run_script
from tests.system import slow

pytestmark = pytest.mark.system

WORKERS = 50

# One after the other the calls would take 10 s.
LIMIT = 0.8


class Client(NamedTuple):
    """A way to ask a server.

    ``setup`` comes first. Then each worker evaluates ``prepare``, and when all have, ``call``, where ``mine`` is what
    it has prepared; ``i`` is its number, which the server has to give back after ``SECONDS``.
    """

    server: str
    setup: str
    prepare: str
    call: str


ASK_BY_CURSOR = """
def ask(connection, i):
    with connection.cursor() as cursor:
        cursor.execute("SELECT {}(%s), %s", (SECONDS, i))
        return cursor.fetchone()[1]
"""

CLIENTS = {
    "redis-py": Client(
        "redis",
        """
import redis
client = redis.Redis('127.0.0.1', PORT)

def ask(i):
    pipe = client.pipeline(transaction=False)
    pipe.blpop(f"nothing:{i}", SECONDS)  # what follows has to wait for that
    pipe.echo(str(i))
    return int(pipe.execute()[1])
""",
        "client.ping()",
        "ask(i)",
    ),
    "psycopg": Client(
        "postgres",
        "import psycopg",
        "psycopg.connect(host='127.0.0.1', port=PORT, user='greenserve', dbname='postgres')",
        "mine.execute('SELECT pg_sleep(%s), %s::int', (SECONDS, i)).fetchone()[1]",
    ),
    "psycopg2": Client(
        "postgres",
        f"import psycopg2\n{ASK_BY_CURSOR.format('pg_sleep')}",
        "psycopg2.connect(host='127.0.0.1', port=PORT, user='greenserve', dbname='postgres')",
        "ask(mine, i)",
    ),
    "pg8000": Client(
        "postgres",
        "import pg8000.native",
        "pg8000.native.Connection('greenserve', host='127.0.0.1', port=PORT, database='postgres')",
        "mine.run('SELECT pg_sleep(:seconds), CAST(:i AS int)', seconds=SECONDS, i=i)[0][1]",
    ),
    "PyMySQL": Client(
        "mariadb",
        f"import pymysql\n{ASK_BY_CURSOR.format('SLEEP')}",
        "pymysql.connect(host='127.0.0.1', port=PORT, user='root', database='mysql')",
        "ask(mine, i)",
    ),
    **{
        f"SQLAlchemy with {driver}": Client(
            server,
            f"""
import sqlalchemy
engine = sqlalchemy.create_engine(f"{url}", pool_size=WORKERS)
query = sqlalchemy.text("SELECT {sleep}(:seconds), :i")

def ask(i):
    with engine.connect() as connection:
        return int(connection.execute(query, {{"seconds": SECONDS, "i": i}}).one()[1])
""",
            "engine.connect().close()",
            "ask(i)",
        )
        for driver, server, url, sleep in [
            ("psycopg", "postgres", "postgresql+psycopg://greenserve@127.0.0.1:{PORT}/postgres", "pg_sleep"),
            ("psycopg2", "postgres", "postgresql+psycopg2://greenserve@127.0.0.1:{PORT}/postgres", "pg_sleep"),
            ("PyMySQL", "mariadb", "mysql+pymysql://root@127.0.0.1:{PORT}/mysql", "SLEEP"),
        ]
    },
    "requests": Client(
        "http",
        """
import requests
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=WORKERS))
""",
        "None",
        "int(session.get(f'http://127.0.0.1:{PORT}/{i}').text)",
    ),
    "urllib3": Client(
        "http",
        "import urllib3; pool = urllib3.PoolManager(maxsize=WORKERS)",
        "None",
        "int(pool.request('GET', f'http://127.0.0.1:{PORT}/{i}').data)",
    ),
    "httpx": Client(
        "http",
        "import httpx; client = httpx.Client()",
        "None",
        "int(client.get(f'http://127.0.0.1:{PORT}/{i}').text)",
    ),
    "boto3": Client(
        "http",
        """
import boto3, botocore.config
client = boto3.client(
    "s3", endpoint_url=f"http://127.0.0.1:{PORT}", region_name="us-east-1",
    aws_access_key_id="key", aws_secret_access_key="secret",
    config=botocore.config.Config(max_pool_connections=WORKERS, s3={"addressing_style": "path"}),
)
""",
        "client.put_object(Bucket='numbers', Key=f'key{i}', Body=str(i).encode())",
        "int(client.get_object(Bucket='numbers', Key=f'key{i}')['Body'].read())",
    ),
    "smtplib": Client(
        "smtp",
        "import smtplib",
        "smtplib.SMTP('127.0.0.1', PORT, local_hostname='localhost')",
        """(
            mine.ehlo(), mine.mail("a@example.org"), mine.rcpt("b@example.org"),
            int(mine.data(f"Subject: {i} x")[1].split()[1])
        )[3]""",
    ),
}

SCRIPT = """
import json, os, threading, time
PORT, SECONDS, WORKERS = {port}, {seconds}, {workers}
{setup}
prepared, results = [None] * WORKERS, [None] * WORKERS

def prepare(i):
    prepared[i] = {prepare}

def call(i):
    mine = prepared[i]
    results[i] = {call}

def run(function):
    threads = [threading.Thread(target=function, args=(i,)) for i in range(WORKERS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began

run(prepare)
took = min(run(call) for _ in range(3))  # the machine may be busy with something else
print(json.dumps([took, results, len(os.listdir("/proc/self/task"))]))
"""


def run_workers(client: Client, port: int) -> tuple[float, list[int], int]:
    """Return how long the calls took together, in seconds, what they returned, and the number of native threads."""
    script = SCRIPT.format(port=port, seconds=slow.SECONDS, workers=WORKERS, **client._asdict())
    took, results, native = json.loads(greenserve.execute(run_script, script))
    return took, results, native


@pytest.mark.parametrize("name", CLIENTS)
def test_fifty_green_threads_wait_for_a_server_at_once(name: str, request: pytest.FixtureRequest) -> None:
    client = CLIENTS[name]
    if client.server == "http":
        with serve(slow.Objects()) as address:
            took, results, native = run_workers(client, address[1])
    elif client.server == "smtp":
        with slow.smtp() as port:
            took, results, native = run_workers(client, port)
    else:
        took, results, native = run_workers(client, request.getfixturevalue(f"{client.server}_port"))
    assert results == list(range(WORKERS))
    assert slow.SECONDS * 0.99 <= took < LIMIT
    assert native == 1


def test_psycopg_copies_and_psycopg_2_refuses_to(postgres_port: int) -> None:
    script = f"""
import io, psycopg, psycopg2
where = dict(host="127.0.0.1", port={postgres_port}, user="greenserve", dbname="postgres")
with psycopg.connect(**where) as connection:
    connection.execute("CREATE TEMPORARY TABLE numbers (number int)")
    with connection.cursor().copy("COPY numbers FROM STDIN") as copy:
        for number in range(20_000):
            copy.write_row((number,))
    with connection.cursor().copy("COPY numbers TO STDOUT") as copy:
        print(sum(int(row[0]) for row in copy.rows()))
connection = psycopg2.connect(**where)
try:
    connection.cursor().copy_expert("COPY (SELECT 1) TO STDOUT", io.StringIO())
except psycopg2.ProgrammingError as exc:
    print(exc)
connection.close()
"""
    assert run_script(script) == f"{sum(range(20_000))}\ncopy_expert cannot be used with an asynchronous callback.\n"


def test_notifications_arrive_while_others_run(postgres_port: int) -> None:
    script = f"""
import psycopg, threading
where = dict(host="127.0.0.1", port={postgres_port}, user="greenserve", dbname="postgres", autocommit=True)
listener, sender = psycopg.connect(**where), psycopg.connect(**where)
listener.execute("LISTEN news")
heard = []
thread = threading.Thread(target=lambda: heard.extend(n.payload for n in listener.notifies(timeout=10, stop_after=3)))
thread.start()
for number in range(3):
    sender.execute(f"NOTIFY news, '{{number}}'")
thread.join()
print(heard)
"""
    assert run_script(script) == "['0', '1', '2']\n"
