"""Figures of a server and of all its workers: gathered in each process, kept where any of them can read, and shown.

``board`` keeps them in memory that a fork shares, ``observer`` gathers those of one worker, ``totals`` adds them up,
``app`` serves them to Prometheus and to probes, ``statsd`` sends them. Nothing here counts a request: the server does.
"""

from __future__ import annotations

from greenserve.metrics.board import Board, Slot, State
from greenserve.metrics.observer import Observer

__all__ = ["Board", "Observer", "Slot", "State"]
