"""The servers that are measured: a catalogue, and one program a module that serves one app with one server.

A program is run as ``python -m benchmarks.servers.NAME HOST PORT APP``. Each server has its best usual settings: no
access log, Nagle's algorithm off, keep-alive for as long as a run takes, one process on one core.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.apps import APPS
from benchmarks.errors import BenchmarkError
from benchmarks.machine import ROOT

__all__ = ["GREEN_SERVERS", "OURS", "SERVERS", "Server", "choose", "installed", "versions_of"]


@dataclass(frozen=True)
class Server:
    """One row of the catalogue.

    Attributes:
        name: As the tables and ``--servers`` have it.
        program: The module under ``benchmarks.servers``.
        needs: The distributions that it needs, its own first.
        apps: The apps it can serve.
        green: Whether each connection is a green thread, so that one process holds thousands.
    """

    name: str
    program: str
    needs: tuple[str, ...]
    apps: tuple[str, ...] = APPS
    green: bool = False


OURS = Server("greenserve", "greenserve", ("greenserve",), green=True)

SERVERS = (
    OURS,
    Server("floor", "floor", (), apps=("hello",)),
    Server("fastwsgi", "fastwsgi", ("fastwsgi", "setuptools")),
    Server("bjoern", "bjoern", ("bjoern",)),
    Server("granian", "granian", ("granian",)),
    Server("gevent", "gevent", ("gevent",), green=True),
    Server("gunicorn-gthread", "gunicorn_gthread", ("gunicorn",)),
    Server("gunicorn-gevent", "gunicorn_gevent", ("gunicorn", "gevent")),
    Server("waitress", "waitress", ("waitress",)),
    Server("eventlet", "eventlet", ("eventlet",), green=True),
    Server("cheroot", "cheroot", ("cheroot",)),
)

GREEN_SERVERS = tuple(server for server in SERVERS if server.green)


def installed(servers: Sequence[Server] = SERVERS) -> list[Server]:
    """Return those of ``servers`` that can run here."""
    return [server for server in servers if all(_version(name) is not None for name in server.needs)]


def choose(names: str | None, servers: Sequence[Server] = SERVERS) -> list[Server]:
    """Return the servers that a user named, comma-separated, or all that are installed.

    Raises:
        BenchmarkError: One is unknown or not installed.
    """
    available = installed(servers)
    if names is None:
        return available
    by_name = {server.name: server for server in available}
    chosen = [name.strip() for name in names.split(",")]
    if missing := [name for name in chosen if name not in by_name]:
        known = ", ".join(server.name for server in servers)
        raise BenchmarkError(f"not known or not installed: {', '.join(missing)} (known: {known})")
    return [by_name[name] for name in chosen]


def versions_of(servers: Sequence[Server]) -> dict[str, str]:
    """Return the version of everything that ``servers`` need, by distribution."""
    return {name: _version(name) or "missing" for server in servers for name in server.needs}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        # Ours is measured from the checkout, whether it was installed or not.
        if distribution == "greenserve" and (ROOT / "greenserve" / "wsgi" / "server.py").exists():
            return "this checkout"
        return None
