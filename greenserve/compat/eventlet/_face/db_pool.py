"""``eventlet.db_pool``: pools of database connections."""

from __future__ import annotations

from greenserve import db_pool
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

BaseConnectionPool = db_pool.BaseConnectionPool
DatabaseConnector = db_pool.DatabaseConnector
PooledConnectionWrapper = db_pool.PooledConnectionWrapper
GenericConnectionWrapper = db_pool.PooledConnectionWrapper
RawConnectionPool = db_pool.RawConnectionPool
TpooledConnectionPool = db_pool.TpooledConnectionPool
cleanup_rollback = db_pool.cleanup_rollback
ConnectionPool = TpooledConnectionPool
