"""``eventlet.support.psycopg2_patcher``: letting psycopg's queries wait in the hub."""

from __future__ import annotations

from greenserve.monkey import patch_psycopg

__all__ = ["make_psycopg_green"]

make_psycopg_green = patch_psycopg
