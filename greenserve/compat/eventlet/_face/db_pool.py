"""``eventlet.db_pool``: pools of database connections."""

from __future__ import annotations

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
cleanup_rollback = db_pool.cleanup_rollback


class BaseConnectionPool(Counted, db_pool.BaseConnectionPool):
    """As `greenserve.db_pool.BaseConnectionPool`."""


class TpooledConnectionPool(db_pool.TpooledConnectionPool, BaseConnectionPool):
    """As `greenserve.db_pool.TpooledConnectionPool`."""


class RawConnectionPool(db_pool.RawConnectionPool, BaseConnectionPool):
    """As `greenserve.db_pool.RawConnectionPool`."""


ConnectionPool = TpooledConnectionPool
