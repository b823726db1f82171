from __future__ import annotations

import gc
import logging
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve import GreenletExit, Timeout, sleep, spawn
from greenserve.db_pool import (
    BaseConnectionPool,
    ConnectionPool,
    ConnectTimeout,
    DatabaseConnector,
    RawConnectionPool,
    TpooledConnectionPool,
)
from greenserve.net import execute, set_num_threads
from tests.sync.threads import HubThread, OSThread, frequent_thread_switches, let_run, until

LONG = 1000.0


class Driver:
    """A driver that keeps account of its connections. ``refuse``, ``stall``: what the next ``connect`` does."""

    def __init__(self) -> None:
        self.made: list[Connection] = []
        self.refuse = False
        self.stall = False

    def connect(self, *args: Any, **kwargs: Any) -> Connection:
        if self.refuse:
            raise OSError("refused")
        if self.stall:
            sleep(LONG)
        self.made.append(Connection(len(self.made), args, kwargs))
        return self.made[-1]

    @property
    def open(self) -> list[int]:
        return [connection.number for connection in self.made if not connection.closed]


class Connection:
    def __init__(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.number = number
        self.asked = (args, kwargs)
        self.closed = 0
        self.rollbacks = 0
        self.broken = False
        self.autocommit = False

    def rollback(self) -> None:
        if self.broken:
            raise OSError("gone away")
        self.rollbacks += 1

    def close(self) -> None:
        self.closed += 1
        if self.broken:
            raise OSError("gone away")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> str:
        return "left"


@pytest.fixture
def driver() -> Driver:
    return Driver()


def raw(driver: Driver, **options: Any) -> RawConnectionPool:
    return RawConnectionPool(driver, **{"max_idle": LONG, "max_age": LONG, **options})


def test_a_connection_is_made_with_the_pools_arguments_and_used_again(driver: Driver) -> None:
    pool = RawConnectionPool(driver, 0, 2, LONG, LONG, 5, None, "books", user="reader")
    with pool.item() as connection:
        assert connection.asked == (("books",), {"user": "reader"})
    with pool.item() as connection:
        assert connection.number == 0
    assert (len(driver.made), pool.free(), pool.idle()) == (1, 2, 1)


def test_no_more_than_max_size_connections_are_open_and_those_who_wait_are_served_in_order(driver: Driver) -> None:
    pool = raw(driver, max_size=2)
    order: list[int] = []

    def use(number: int) -> None:
        with pool.item():
            order.append(number)
            sleep(0)

    for thread in [spawn(use, number) for number in range(10)]:
        thread.wait()
    assert (order, driver.open) == (list(range(10)), [0, 1])
    held = pool.get(), pool.get()
    with pytest.raises(TimeoutError, match="no item of the pool came free"), pool.item(timeout=0.001):
        pass
    for connection in held:
        connection.close()


def test_a_connection_comes_back_clean(driver: Driver) -> None:
    pool = raw(driver)
    with pool.item():
        pass
    with pytest.raises(KeyError), pool.item():
        raise KeyError
    assert driver.made[0].rollbacks == 2
    with pool.item(cleanup=None):
        pass
    assert driver.made[0].rollbacks == 2
    seen = []
    pool.put(pool.get(), cleanup=seen.append)
    assert (seen, driver.made[0].rollbacks) == ([driver.made[0]], 2)
    unclean = raw(driver, cleanup=None)
    unclean.get().close()
    assert driver.made[1].rollbacks == 0


def test_a_connection_that_can_not_be_cleaned_is_closed_and_another_one_made(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    pool = raw(driver, max_size=1)
    with caplog.at_level(logging.WARNING, "greenserve.db_pool"), pool.item():
        driver.made[0].broken = True
    assert "a connection is closed, since cleaning it failed: gone away" in caplog.text
    with pool.item() as connection:
        assert connection.number == 1
    assert driver.open == [1]


@pytest.mark.parametrize("error", [GreenletExit, KeyboardInterrupt, Timeout])
def test_whoever_is_interrupted_loses_the_connection(driver: Driver, error: type[BaseException]) -> None:
    pool = raw(driver, max_size=1)
    with pytest.raises(error), pool.item():
        raise error
    assert (driver.open, driver.made[0].rollbacks, pool.free()) == ([], 0, 1)


def test_whoever_is_interrupted_while_the_connection_is_cleaned_loses_it_too(driver: Driver) -> None:
    pool = raw(driver, max_size=1, cleanup=lambda connection: sleep(LONG))
    with pytest.raises(Timeout), Timeout(0.001), pool.item():
        pass
    assert (driver.open, pool.free()) == ([], 1)


def test_close_gives_back_and_what_was_given_back_is_of_no_use(driver: Driver) -> None:
    pool = raw(driver)
    connection = pool.get()
    assert connection
    connection.autocommit = True
    assert driver.made[0].autocommit is True
    connection.close()
    connection.close()
    assert not connection
    assert (driver.open, pool.idle()) == ([0], 1)
    with pytest.raises(AttributeError, match="rollback: this connection was given back"):
        connection.rollback()
    with pytest.raises(ValueError, match="not on loan"):
        pool.put(connection)
    with pytest.raises(ValueError, match="not on loan"):
        raw(driver).put(pool.get())
    assert pool.idle() == 0


def test_one_may_give_the_connection_back_before_the_end_of_the_block(driver: Driver) -> None:
    pool = raw(driver, max_size=1)
    with pool.item() as connection:
        connection.close()
    with pytest.raises(GreenletExit), pool.item() as connection:
        connection.close()
        raise GreenletExit
    assert (driver.open, pool.free(), pool.idle()) == ([0], 1, 1)


def test_the_connections_own_block_is_entered_and_left(driver: Driver) -> None:
    pool = raw(driver)
    with pool.item() as connection:
        with connection as entered:
            assert entered is connection
        assert connection.__exit__(None, None, None) == "left"


def test_a_connection_that_can_not_be_made_leaves_its_place_free(driver: Driver) -> None:
    pool = raw(driver, max_size=1)
    driver.refuse = True
    for _ in range(2):
        with pytest.raises(OSError, match="refused"):
            pool.get()
    assert pool.free() == 1


@pytest.mark.parametrize("make", [RawConnectionPool, TpooledConnectionPool])
def test_connecting_has_a_deadline(driver: Driver, make: type[BaseConnectionPool]) -> None:
    gate = threading.Event()

    class Stalled:
        def connect(self) -> None:
            gate.wait(LONG)

    driver.stall = True
    pool = make(driver if make is RawConnectionPool else Stalled(), max_size=1, connect_timeout=0.01)
    try:
        with pytest.raises(ConnectTimeout, match=r"after 0\.01 s"):
            pool.get()
    finally:
        gate.set()
    assert pool.free() == 1


@pytest.mark.parametrize("option", ["max_idle", "max_age"])
def test_with_no_time_to_live_a_connection_is_closed_when_it_comes_back(driver: Driver, option: str) -> None:
    pool = raw(driver, **{option: 0})
    for _ in range(2):
        pool.get().close()
    assert ([connection.closed for connection in driver.made], pool.idle()) == ([1, 1], 0)


@pytest.mark.parametrize("option", ["max_idle", "max_age"])
def test_old_connections_are_closed_without_being_asked_for(driver: Driver, option: str) -> None:
    pool = raw(driver, min_size=2, **{option: 0.02})
    assert driver.open == [0, 1]
    until(lambda: not driver.open)
    assert (pool.free(), pool.idle()) == (4, 0)


def test_an_old_connection_is_not_handed_out(driver: Driver) -> None:
    pool = raw(driver)
    pool.get().close()
    pool.max_age = 0  # its time is over, and the sweep has not been by
    pool.get()
    assert driver.open == [1]


def test_a_sweep_keeps_those_that_are_good_in_their_order(driver: Driver) -> None:
    pool = raw(driver, max_size=3)
    for connection in [pool.get() for _ in range(3)]:
        connection.close()
    driver_order = [2, 1, 0]
    pool.prune()
    assert [pool.get().number for _ in range(3)] == driver_order


def test_a_pool_that_nobody_has_is_not_kept_for_its_sweep(driver: Driver) -> None:
    pool = raw(driver)
    pool.get().close()
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None


def test_what_is_no_longer_needed_is_closed(driver: Driver) -> None:
    pool = raw(driver, max_size=4)
    for connection in [pool.get() for _ in range(4)]:
        connection.close()
    held = pool.get()
    pool.resize(2)
    assert len(driver.open) == 2
    pool.clear()
    assert driver.open == [held.number]
    pool.resize(0)
    held.close()
    assert driver.open == []


def test_a_connection_that_does_not_close_is_let_go(driver: Driver) -> None:
    pool = raw(driver, cleanup=None)
    pool.get().close()
    driver.made[0].broken = True
    pool.clear()
    assert (driver.made[0].closed, pool.idle(), pool.free()) == (1, 0, 4)


def test_a_pool_serves_green_threads_and_native_ones(driver: Driver) -> None:
    pool = raw(driver, max_size=3)
    in_use: list[int] = []

    def use() -> int:
        for _ in range(100):
            with pool.item(timeout=10) as connection:
                number = connection.number
                assert number not in in_use
                in_use.append(number)
                in_use.remove(number)
        return 1

    with frequent_thread_switches():
        threads: list[Any] = [OSThread(use), OSThread(use), HubThread(use), spawn(use), spawn(use)]
        assert sum(thread.wait() for thread in threads) == 5
    assert (pool.free(), len(driver.open) <= 3) == (3, True)


# A driver that blocks -----------------------------------------------------------------------------------------------


class _Connection(sqlite3.Connection):
    """One that says in which threads it is closed."""

    closed_in: list[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.closed_in = []

    def close(self) -> None:
        super().close()
        self.closed_in.append(threading.get_ident())


@pytest.fixture
def opened() -> list[_Connection]:
    """The connections of `books`."""
    return []


@pytest.fixture
def books(tmp_path: Path, opened: list[_Connection]) -> Iterator[BaseConnectionPool]:
    def make(*args: Any, **kwargs: Any) -> _Connection:
        opened.append(_Connection(*args, **kwargs))
        return opened[-1]

    pool = ConnectionPool(
        sqlite3,
        0,
        4,
        LONG,
        LONG,
        database=str(tmp_path / "books.sqlite"),
        check_same_thread=False,
        factory=make,
        timeout=10,
    )
    with pool.item() as connection:
        connection.execute("CREATE TABLE books (title TEXT, thread INTEGER)")
        connection.commit()
    yield pool
    pool.clear()


def test_every_call_on_a_connection_and_its_cursors_is_made_in_a_native_thread(books: BaseConnectionPool) -> None:
    here = threading.get_ident()
    seen = set()

    def thread() -> int:
        seen.add(threading.get_ident())
        return threading.get_ident()

    with books.item() as connection:
        connection.create_function("thread", 0, thread)
        cursor = connection.cursor()
        cursor.execute("INSERT INTO books VALUES ('A Tour', thread())")
        assert cursor.execute("SELECT title, thread() FROM books").fetchall()[0][0] == "A Tour"
        # The rows of a query are computed while they are fetched.
        assert connection.execute("SELECT thread() FROM books").fetchone()[0] != here
        assert [row[0] == here for row in connection.execute("SELECT thread() FROM books")] == [False]
        assert connection.in_transaction
    assert here not in seen
    with books.item() as connection:
        assert connection.execute("SELECT count(*) FROM books").fetchone() == (0,)


def test_a_query_that_takes_long_lets_others_run(books: BaseConnectionPool) -> None:
    gate = threading.Event()
    entered = threading.Event()

    def stall() -> int:
        entered.set()
        gate.wait(LONG)
        return 1

    with books.item() as connection:
        connection.create_function("stall", 0, stall)
        query = spawn(lambda: connection.execute("SELECT stall()").fetchone())
        until(entered.is_set)
        assert not query.ended
        gate.set()
        assert query.wait() == (1,)


@pytest.mark.parametrize("through", ["connection", "cursor"])
def test_a_connection_that_a_native_thread_still_uses_is_closed_when_that_is_done(
    books: BaseConnectionPool, opened: list[_Connection], through: str
) -> None:
    gate = threading.Event()
    entered = threading.Event()
    found: list[list[int]] = []

    def stall() -> int:
        entered.set()
        gate.wait(LONG)
        found.append(list(opened[0].closed_in))
        return 1

    def ask() -> None:
        with books.item() as connection:
            connection.create_function("stall", 0, stall)
            asked = connection if through == "connection" else connection.cursor()
            asked.execute("SELECT stall()").fetchone()

    asker = spawn(ask)
    until(entered.is_set)
    asker.kill()
    assert (books.free(), books.idle()) == (4, 0)
    gate.set()
    until(lambda: opened[0].closed_in)
    assert found == [[]]
    assert threading.get_ident() not in opened[0].closed_in
    with books.item() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_nobody_uses_when_its_user_is_killed_is_closed_by_a_native_thread(
    books: BaseConnectionPool, opened: list[_Connection]
) -> None:
    cursors: list[Any] = []

    def hold() -> None:
        with books.item() as connection:
            cursors.append(connection.cursor())
            sleep(LONG)

    holder = spawn(hold)
    until(lambda: cursors)
    holder.kill()
    assert (books.free(), books.idle()) == (4, 0)
    until(lambda: opened[0].closed_in)
    assert threading.get_ident() not in opened[0].closed_in
    with pytest.raises(RuntimeError, match="the connection was given up, since whoever used it was interrupted"):
        cursors[0].execute("SELECT 1")


def test_without_native_threads_a_pool_still_works(books: BaseConnectionPool) -> None:
    set_num_threads(0)
    try:
        with books.item() as connection:
            assert connection.execute("SELECT 2").fetchone() == (2,)
    finally:
        set_num_threads(20)
        assert execute(int, "1") == 1


# A pool for each database -------------------------------------------------------------------------------------------


def test_a_connector_has_one_pool_for_each_database(driver: Driver) -> None:
    credentials = {"db1": {"user": "one"}, "default": {"user": "any"}}
    connector = DatabaseConnector(driver, credentials, RawConnectionPool, max_size=7, charset="utf8")
    pool = connector.get("db1", "books")
    assert (pool.max_size, connector.get("db1", "books")) == (7, pool)
    assert connector.get("db2", "books") is not pool
    assert pool.get().asked == ((), {"host": "db1", "db": "books", "user": "one", "charset": "utf8"})
    assert connector.get("db2", "books").get().asked[1]["user"] == "any"
    by_name = DatabaseConnector(driver, credentials, RawConnectionPool, name_keyword="dbname").get("db1", "books").get()
    assert by_name.asked == ((), {"host": "db1", "dbname": "books", "user": "one"})


def test_a_connector_without_credentials_for_a_host_says_so(driver: Driver) -> None:
    with pytest.raises(LookupError, match="'db3'"):
        DatabaseConnector(driver, {"db1": {}}).get("db3", "books")


def test_green_threads_that_ask_at_once_get_the_same_pool(driver: Driver) -> None:
    class Slow(RawConnectionPool):
        def connect(self, *args: Any, **kwargs: Any) -> Any:
            sleep(0)
            return super().connect(*args, **kwargs)

    connector = DatabaseConnector(driver, {"default": {}}, Slow, min_size=1)
    threads = [spawn(connector.get, "db1", "books") for _ in range(3)]
    let_run()
    assert len({id(thread.wait()) for thread in threads}) == 1
    assert len(driver.made) == 1
