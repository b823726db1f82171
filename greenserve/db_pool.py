"""Pools of database connections, for any driver in the shape of PEP 249. Knows no driver.

`ConnectionPool` is for drivers that block in C (sqlite3, mysqlclient, ODBC): each of their calls is made in a native
thread. `RawConnectionPool` is for those that wait in the hub by themselves: drivers written in Python in a patched
program, and psycopg after `greenserve.monkey.patch_psycopg`.

Fact this rests on: whoever is interrupted in the middle of a query leaves a connection whose next answer belongs to
that query. What this means for us: a block that ends by what is no ``Exception``, such as a `Timeout` or a kill, loses
its connection, and nobody gets it again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from greenserve._log import get_logger
from greenserve._originals import allocate_lock, monotonic
from greenserve.core.greenthreads import spawn_after, spawn_n
from greenserve.core.hub import has_hub
from greenserve.core.timeouts import Timeout
from greenserve.errors import ConnectTimeout
from greenserve.net.threads import Proxy, execute
from greenserve.sync.locks import Lock
from greenserve.sync.resources import Pool

__all__ = [
    "BaseConnectionPool",
    "ConnectTimeout",
    "ConnectionPool",
    "DatabaseConnector",
    "PooledConnectionWrapper",
    "RawConnectionPool",
    "TpooledConnectionPool",
    "cleanup_rollback",
]

log = get_logger("greenserve.db_pool")

_POOLS_OWN: Any = object()  # the cleanup that the pool was made with


def cleanup_rollback(connection: Any) -> None:
    """End whatever transaction the last user left open. May switch."""
    connection.rollback()


class PooledConnectionWrapper:
    """A connection on loan: everything is the connection's own, but `close` gives it back to its pool.

    False once it was given back.
    """

    # Names that no connection is likely to have: every other one is the connection's.
    __slots__ = ("_pooled_base", "_pooled_idle_since", "_pooled_made", "_pooled_pool")

    def __init__(self, base: Any, pool: BaseConnectionPool, made: float) -> None:
        self._pooled_base = base
        self._pooled_pool = pool
        self._pooled_made = made  # monotonic seconds, as the next
        self._pooled_idle_since = monotonic()

    def close(self) -> None:
        """Give it back. Idempotent. May switch."""
        if self:
            self._pooled_pool.put(self)

    def _pooled_take(self) -> Any:
        """Return the connection, which this then no longer stands for."""
        base, self._pooled_base = self._pooled_base, None
        return base

    def __bool__(self) -> bool:
        return self._pooled_base is not None

    def __getattr__(self, name: str) -> Any:
        if self._pooled_base is None:
            raise AttributeError(f"{name}: this connection was given back to its pool")
        return getattr(self._pooled_base, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PooledConnectionWrapper.__slots__:
            object.__setattr__(self, name, value)
        else:
            setattr(self._pooled_base, name, value)

    def __enter__(self) -> Any:
        entered = self._pooled_base.__enter__()
        return self if entered is self._pooled_base else entered

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        return self._pooled_base.__exit__(kind, value, traceback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._pooled_base!r}>"


class BaseConnectionPool(Pool[PooledConnectionWrapper]):
    """At most ``max_size`` connections, the one used last handed out first. A subclass says how they are made.

    Args:
        db_module: The driver: what has a function ``connect``.
        min_size: How many connections are made at once.
        max_size: How many there are at most.
        max_idle: A connection that nobody has used for so many seconds is handed out no more, and closed within as many
            again; 0: it is closed as soon as it comes back.
        max_age: A connection that was made so many seconds ago is closed once it comes back; 0: always.
        connect_timeout: Seconds that making one may take; None: as long as the driver says.
        cleanup: What is done with a connection that comes back. If it raises, the connection is closed. None: nothing.
        args: For ``db_module.connect``, with ``kwargs``.

    Raises:
        ValueError: Not ``0 <= min_size <= max_size``.
        ConnectTimeout: As `get`, for the first ``min_size``.
    """

    def __init__(
        self,
        db_module: Any,
        min_size: int = 0,
        max_size: int = 4,
        max_idle: float = 10,
        max_age: float = 30,
        connect_timeout: float | None = 5,
        cleanup: Callable[[Any], object] | None = cleanup_rollback,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._db_module = db_module
        self._args = args
        self._kwargs = kwargs
        self.max_idle = max_idle
        self.max_age = max_age
        self.connect_timeout = connect_timeout
        self.cleanup = cleanup
        self._sweep_due = 0.0  # when idle connections are looked at next, if that is yet to come; monotonic seconds
        super().__init__(min_size, max_size, order_as_stack=True)
        self._schedule_sweep()

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a new connection of the driver's. May switch."""
        raise NotImplementedError(f"{type(self).__name__} says not how to connect: use one of its subclasses")

    def create(self) -> PooledConnectionWrapper:
        """Make a connection. May switch.

        Raises:
            ConnectTimeout: It took longer than ``connect_timeout``.
        """
        too_long = ConnectTimeout(f"no connection to the database after {self.connect_timeout} s")
        with Timeout(self.connect_timeout, too_long):
            base = self.connect(*self._args, **self._kwargs)
        return PooledConnectionWrapper(base, self, monotonic())

    def dispose(self, item: PooledConnectionWrapper) -> None:
        """Close a connection. What that raises is logged. May switch."""
        base = item._pooled_take()
        if base is not None:
            _close(base)

    def is_usable(self, item: PooledConnectionWrapper) -> bool:
        """Whether an idle connection is young enough and was used lately."""
        now = monotonic()
        return now - item._pooled_idle_since < self.max_idle and now - item._pooled_made < self.max_age

    def put(self, item: PooledConnectionWrapper, cleanup: Callable[[Any], object] | None = _POOLS_OWN) -> None:
        """Give back what `get` returned, which is of no use then. May switch.

        Args:
            item: The connection.
            cleanup: In place of the pool's own; None: nothing.

        Raises:
            ValueError: It was given back before, or is another pool's.
        """
        if not item or item._pooled_pool is not self:
            raise ValueError(f"{item!r} is not on loan from this pool")
        idle = PooledConnectionWrapper(item._pooled_take(), self, item._pooled_made)
        if cleanup is _POOLS_OWN:
            cleanup = self.cleanup
        if not self.is_usable(idle) or not self._clean(idle, cleanup):
            self.discard(idle)
            return
        super().put(idle)
        self._schedule_sweep()

    def _clean(self, item: PooledConnectionWrapper, cleanup: Callable[[Any], object] | None) -> bool:
        """Whether the connection is good for another user."""
        if cleanup is None:
            return True
        try:
            cleanup(item._pooled_base)
        except Exception as exc:  # noqa: BLE001 - whatever a driver says: the connection is of no use
            log.warning("a connection is closed, since cleaning it failed: %s", exc)
            return False
        except BaseException:
            self._abandon(item)
            raise
        return True

    def _abandon(self, item: PooledConnectionWrapper) -> None:
        """Give back a connection on which something may still be going on."""
        self.discard(item)

    @contextmanager
    def item(
        self, timeout: float | None = None, cleanup: Callable[[Any], object] | None = _POOLS_OWN
    ) -> Iterator[PooledConnectionWrapper]:
        """``with pool.item() as connection:`` takes one, and gives it back at the end. May switch.

        Args:
            timeout: As for `get`, with what it raises.
            cleanup: As for `put`.
        """
        connection = self.get(timeout)
        try:
            yield connection
        except Exception:
            if connection:
                self.put(connection, cleanup)
            raise
        except BaseException:
            if connection:
                self._abandon(connection)
            raise
        else:
            if connection:
                self.put(connection, cleanup)

    def _schedule_sweep(self) -> None:
        now = monotonic()
        # One whose OS thread has ended never comes: when it is overdue, the next one takes its place.
        if not self.idle() or self._sweep_due > now or not has_hub():
            return
        pause = min(self.max_idle, self.max_age)
        self._sweep_due = now + pause
        spawn_after(pause, _sweep, weakref.ref(self))


def _close(connection: Any) -> None:
    try:
        connection.close()
    except Exception as exc:  # noqa: BLE001 - whatever a driver says of a connection that is gone
        log.debug("closing %r failed: %s", connection, exc)


def _sweep(reference: weakref.ref[BaseConnectionPool]) -> None:
    """Close the connections of a pool that have been idle for too long, as long as there is the pool."""
    pool = reference()
    if pool is not None:
        pool._sweep_due = 0.0
        pool.prune()
        pool._schedule_sweep()


class _Calls:
    """The calls that native threads make on one connection and its cursors, and the end of it.

    Not every driver bears being closed in the midst of a call: whoever makes the last one closes it then.
    """

    __slots__ = ("_connection", "_count", "_is_over", "_lock")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._count = 0
        self._is_over = False
        self._lock = allocate_lock()

    def make(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``function``. In a native thread.

        Raises:
            RuntimeError: The connection was given up before.
        """
        with self._lock:
            if self._is_over:
                raise RuntimeError("the connection was given up, since whoever used it was interrupted")
            self._count += 1
        try:
            return function(*args, **kwargs)
        finally:
            self._note_end()

    def give_up(self) -> None:
        """Let no more calls be made, and close the connection, in a native thread, when none is. Never switches."""
        with self._lock:
            self._is_over = True
            is_idle = not self._count
        if is_idle:
            spawn_n(execute, _close, self._connection)

    def _note_end(self) -> None:
        with self._lock:
            self._count -= 1
            is_last = self._is_over and not self._count
        if is_last:
            _close(self._connection)


class _DriverProxy(Proxy):
    """A connection or a cursor whose calls are made in native threads, and so are those of the cursors they return."""

    __slots__ = ("_proxy_calls",)

    _proxy_calls: _Calls

    def __init__(self, obj: Any, calls: _Calls) -> None:
        super().__init__(obj)
        object.__setattr__(self, "_proxy_calls", calls)

    def _proxy_call(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        calls = self._proxy_calls
        result: Any = execute(calls.make, function, *args, **kwargs)
        # PEP 249 names no class for cursors, but their methods. Most have execute() return nothing, some the cursor.
        is_cursor = hasattr(result, "fetchone") and not isinstance(result, Proxy)
        return _DriverProxy(result, calls) if is_cursor else result


class TpooledConnectionPool(BaseConnectionPool):
    """Connections of a driver that blocks: every call of theirs and of their cursors is made in a native thread.

    Which thread that is differs from call to call: with sqlite3, say ``check_same_thread=False``.
    """

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect in a native thread. May switch."""
        connection = execute(self._db_module.connect, *args, **kwargs)
        return _DriverProxy(connection, _Calls(connection))

    def _abandon(self, item: PooledConnectionWrapper) -> None:
        base = item._pooled_take()
        if isinstance(base, _DriverProxy):
            base._proxy_calls.give_up()
        self.discard(item)


class RawConnectionPool(BaseConnectionPool):
    """Connections of a driver that waits in the hub by itself, as they are."""

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect. May switch."""
        return self._db_module.connect(*args, **kwargs)


ConnectionPool = TpooledConnectionPool


class DatabaseConnector:
    """A pool for each database of each host, made when it is first asked for.

    Args:
        module: The driver.
        credentials: For a host's name, keywords for ``module.connect``, such as user and password. Those under
            ``"default"`` are for every other host.
        conn_pool: The class of the pools: `ConnectionPool` unless something else is said.
        args: For the pools, with ``kwargs``.
        name_keyword: What the driver calls the name of the database: ``"dbname"`` in psycopg.
    """

    def __init__(
        self,
        module: Any,
        credentials: Mapping[str, Mapping[str, Any]],
        conn_pool: Callable[..., BaseConnectionPool] | None = None,
        *args: Any,
        name_keyword: str = "db",
        **kwargs: Any,
    ) -> None:
        self._module = module
        self._credentials = credentials
        self._make_pool = conn_pool or ConnectionPool
        self._args = args
        self._kwargs = kwargs
        self._name_keyword = name_keyword
        self._pools: dict[tuple[str, str], BaseConnectionPool] = {}
        self._lock = Lock()

    def credentials_for(self, host: str) -> Mapping[str, Any]:
        """Return the keywords for a host.

        Raises:
            LookupError: There are none, nor any by default.
        """
        for name in (host, "default"):
            if name in self._credentials:
                return self._credentials[name]
        raise LookupError(f"no credentials for {host!r}, and none called 'default'")

    def get(self, host: str, dbname: str) -> BaseConnectionPool:
        """Return the pool for a database. May switch, while its first connections are made.

        Raises:
            LookupError: As `credentials_for`.
        """
        with self._lock:
            pool = self._pools.get((host, dbname))
            if pool is None:
                target = {self._name_keyword: dbname, "host": host, **self.credentials_for(host)}
                pool = self._pools[host, dbname] = self._make_pool(
                    self._module, *self._args, **{**self._kwargs, **target}
                )
            return pool
