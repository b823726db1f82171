"""``eventlet.dagpool``: green threads that wait for one another's results."""

from __future__ import annotations

from greenserve.sync.dagpool import Collision, DAGPool, PropagateError

__all__ = ["Collision", "DAGPool", "PropagateError"]
