"""What is served, and how it can be read again: what a master and its workers are given. Decides nothing itself.

And what a worker and a process that serves alone have in common, once they have a server.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

from greenserve.config import Config
from greenserve.logs import Logs
from greenserve.net.sockets import GreenSocket
from greenserve.supervisor.hooks import Hooks
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["Site", "needs_master", "serve_to_the_end"]

# Each needs somebody to replace a worker, which one process alone can't do.
_NEED_A_MASTER = ("workers", "preload", "max_requests", "worker_lifetime", "worker_max_rss", "reload")


class Site:
    """What is served.

    Attributes:
        config: The settings.
        hooks: The server hooks.
        logs: The logs of this process.
        load: Returns the application that ``config`` names.
        build: Returns a server for listening sockets and an application; ``multiprocess`` is for its environ.
        reread: Returns settings and hooks as the sources have them now.
        announce: Tells a person that it is served, where, and by how many workers; None for this process alone.
        config_file: The configuration file, from whichever directory, or None.
        on_master: Called with each master before its first worker is forked.
        on_worker: Called with each worker process that has its server, before that serves.
        on_server: Called with the server of a process that serves alone, before it does.
    """

    __slots__ = (
        "announce",
        "build",
        "config",
        "config_file",
        "hooks",
        "load",
        "logs",
        "on_master",
        "on_server",
        "on_worker",
        "reread",
    )

    def __init__(
        self,
        config: Config,
        hooks: Hooks,
        logs: Logs,
        *,
        load: Callable[[Config], WSGIApp],
        build: Callable[[Config, Sequence[GreenSocket], WSGIApp, bool], Server],
        reread: Callable[[], tuple[Config, Hooks]],
        announce: Callable[[Config, str, int | None], None],
        config_file: str | None = None,
        on_master: Sequence[Callable[[Any], object]] = (),
        on_worker: Sequence[Callable[[Any], object]] = (),
        on_server: Sequence[Callable[[Server], object]] = (),
    ) -> None:
        self.config = config
        self.hooks = hooks
        self.logs = logs
        self.load = load
        self.build = build
        self.reread = reread
        self.announce = announce
        self.config_file = config_file
        self.on_master = on_master
        self.on_worker = on_worker
        self.on_server = on_server


def needs_master(config: Config, hooks: Hooks) -> bool:
    """Whether one process can't do what the settings say."""
    return bool(hooks) or any(
        config.is_set(name) and getattr(config, name) not in (None, False) for name in _NEED_A_MASTER
    )


def serve_to_the_end(server: Server, leave: Callable[[BaseException], object]) -> int:
    """Serve until the server has stopped, and return the exit status. May switch.

    That is 0, unless the application ends the program by SystemExit: then it is what Python would end with.

    Args:
        leave: Called with what the application raised, before the server begins to stop for that.
    """
    status = 0
    try:
        server.join()
    except (KeyboardInterrupt, SystemExit) as exc:
        status = _status_of(exc)
        leave(exc)
        server.stop()
    server.serve_forever()
    return status


def _status_of(exc: BaseException) -> int:
    if isinstance(exc, KeyboardInterrupt):  # the application's: the signal is handled
        return 128 + signal.SIGINT
    code = getattr(exc, "code", None)
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1
