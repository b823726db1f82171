"""``eventlet.db_pool``: pools of database connections."""

from __future__ import annotations

from typing import Any

from greenserve import db_pool
from greenserve.compat.eventlet._face.pools import Counted
from greenserve.errors import ConnectTimeout

__all__ = [
    "BaseConnectionPool",
    "ConnectTimeout",
    "ConnectionPool",
    "DatabaseConnector",
    "GenericConnectionWrapper",
    "PooledConnectionWrapper",
    "RawConnectionPool",
    "TpooledConnectionPool",
    "cleanup_rollback",
]

DatabaseConnector = db_pool.DatabaseConnector
PooledConnectionWrapper = db_pool.PooledConnectionWrapper
GenericConnectionWrapper = db_pool.PooledConnectionWrapper

_POOLS_OWN = object()


def cleanup_rollback(conn: Any) -> None:
    """End whatever transaction the last user left open. May switch."""
    conn.rollback()


class BaseConnectionPool(Counted, db_pool.BaseConnectionPool):
    """As `greenserve.db_pool.BaseConnectionPool`."""

    def put(self, conn: Any, cleanup: Any = _POOLS_OWN) -> None:
        """Give back what `get` returned, which is of no use then. May switch.

        Args:
            cleanup: In place of the pool's own; None: nothing.
        """
        if cleanup is _POOLS_OWN:
            super().put(conn)
        else:
            super().put(conn, cleanup)


class TpooledConnectionPool(db_pool.TpooledConnectionPool, BaseConnectionPool):
    """As `greenserve.db_pool.TpooledConnectionPool`."""


class RawConnectionPool(db_pool.RawConnectionPool, BaseConnectionPool):
    """As `greenserve.db_pool.RawConnectionPool`."""


ConnectionPool = TpooledConnectionPool
