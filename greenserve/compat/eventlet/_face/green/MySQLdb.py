"""``eventlet.green.MySQLdb``: MySQLdb, whose connections make their calls in native threads."""

from __future__ import annotations

from typing import Any

import MySQLdb

from greenserve.compat.eventlet._face.patcher import slurp_properties
from greenserve.compat.eventlet._face.tpool import Proxy, execute

__patched__ = ["Connect", "Connection", "connect"]

slurp_properties(MySQLdb, globals(), srckeys=dir(MySQLdb))


def connect(*args: Any, **kwargs: Any) -> Proxy:
    """Connect. May switch."""
    return Proxy(execute(MySQLdb.connect, *args, **kwargs), autowrap_names=("cursor",))


Connect = Connection = connect
