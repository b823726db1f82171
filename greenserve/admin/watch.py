"""What the settings ask to be seen of a server, put together: figures in each worker, and listeners where they belong.

With a master it is the master that listens, so that what can be seen does not depend on any one worker; without one it
is the process that serves. Both ways one board is made before anything is forked.
"""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
from collections.abc import Callable, Iterable
from functools import partial

from greenserve._originals import monotonic
from greenserve.admin.app import AdminApp
from greenserve.admin.history import History
from greenserve.binds import BindError, Listener, open_listeners
from greenserve.config import Config
from greenserve.core.greenthreads import spawn
from greenserve.core.waiters import sleep
from greenserve.errors import SettingError
from greenserve.logs import Logs
from greenserve.metrics.app import MetricsApp
from greenserve.metrics.backlog import BacklogWatch
from greenserve.metrics.board import Board, Figures, State
from greenserve.metrics.observer import Observer
from greenserve.metrics.statsd import Statsd
from greenserve.metrics.totals import total_of
from greenserve.supervisor.child import WorkerProcess
from greenserve.supervisor.master import Master
from greenserve.wsgi.meter import Meter
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["Watch", "check_admin"]

log = logging.getLogger("greenserve.admin")

_INTERVAL = 1.0

# While another master still has the address, as in an upgrade, it is asked for again after so many seconds.
_RETRY = 1.0

# Permissions of Unix sockets: there is no other lock on what is behind them.
_MODE = 0o600


class Watch:
    """All that is watched of one server.

    Args:
        config: The settings. A reload changes nothing here.
        logs: Whose dropped lines are counted.
        lives_with_old_master: Whether another master may still have the addresses, and will give them up.
        figures: The fd of that one's figures, to be gone on with, or None. It is ours.

    Raises:
        SettingError: ``admin_bind`` is an address that others can reach, and nobody said that they may.
    """

    def __init__(
        self,
        config: Config,
        logs: Logs,
        lives_with_old_master: Callable[[], bool] = lambda: False,
        figures: int | None = None,
    ) -> None:
        self._config = config
        self._logs = logs
        self._lives_with_old_master = lives_with_old_master
        check_admin(config)
        self._board: Board | None = None
        if config.metrics_bind or config.admin_bind or config.statsd_host:
            self._board = _make_board(figures)
        elif figures is not None:
            os.close(figures)
        self._servers: list[Server] = []
        self._listeners: list[Listener] = []
        self._statsd: Statsd | None = None

    # Where it is called from ----------------------------------------------------------------------------------------

    def alone(self, server: Server) -> None:
        """Watch a server in this process, which serves without a master."""
        spawn(_watch_backlog, lambda: [listener.fileno() for listener in server.listeners])
        if self._board is not None:
            self._serve(self._board)
            self._observe(self._board, server)
            spawn(self._look, self._board, None)

    def in_master(self, master: Master) -> None:
        """Serve from this master, which has no worker yet."""

        def fds() -> Iterable[int]:
            return master.listeners.fds()  # a reload may have other ones

        # Here, where no application blocks.
        spawn(_watch_backlog, fds)
        if self._board is not None:
            master.figures = self._board.fd
            master.on_end.append(self._board.note_end)
            self._serve(self._board)
            master.in_worker.append(self._leave_behind)
            spawn(self._look, self._board, master)

    def in_worker(self, worker: WorkerProcess) -> None:
        """Watch the server of this worker process."""
        if self._board is not None and worker.server is not None:
            self._observe(self._board, worker.server)

    # In the process that serves -------------------------------------------------------------------------------------

    def _observe(self, board: Board, server: Server) -> None:
        on_tick: Callable[[Figures, Meter], object] | None = None
        if self._config.statsd_host is not None:
            statsd = self._make_statsd()
            on_tick = partial(_send, statsd)
        observer = Observer(board, server, log_dropped=lambda: self._logs.dropped, on_tick=on_tick)
        observer.start()
        # What was counted since the last time must not be lost with the process.
        atexit.register(observer.stop)

    def _make_statsd(self) -> Statsd:
        config = self._config
        return Statsd(config.statsd_host, config.statsd_prefix, config.dogstatsd_tags or ())

    # In the process that listens ------------------------------------------------------------------------------------

    def _serve(self, board: Board) -> None:
        config = self._config
        if config.statsd_host is not None:
            self._statsd = self._make_statsd()
        self._history = History(board, board.ended, config.wsgi_app or "the demo")
        if config.metrics_bind is not None:
            app: WSGIApp = MetricsApp(board, board.ended)
            self._listen("metrics_bind", app, "figures are at %s, under /metrics")
        if config.admin_bind is not None:
            app = AdminApp(self._history, config.admin_public)
            self._listen("admin_bind", app, "the page to look at is at %s")

    def _listen(self, setting: str, app: WSGIApp, message: str) -> None:
        # Asked first: it may end, and give the address up, between our try and the question.
        has_old_master = self._lives_with_old_master()
        try:
            self._open(setting, app, message)
        except BindError:
            if not has_old_master:
                raise
            log.info("%s waits until the old master gives up its address", setting)
            spawn(self._open_later, setting, app, message)

    def _open_later(self, setting: str, app: WSGIApp, message: str) -> None:
        has_old_master = True
        while has_old_master:
            sleep(_RETRY)
            has_old_master = self._lives_with_old_master()
            try:
                self._open(setting, app, message)
            except BindError as exc:
                if not has_old_master:
                    log.error("%s", exc)
            else:
                return

    def _open(self, setting: str, app: WSGIApp, message: str) -> None:
        listeners = open_listeners(getattr(self._config, setting), backlog=128, unix_socket_mode=_MODE)
        self._listeners += listeners
        # So few look at it that it needs no sweeping of its own before a minute.
        server = Server([listener.socket for listener in listeners], app, log_output=False, max_size=256)
        self._servers.append(server)
        server.start()
        if len(self._servers) == 1:
            atexit.register(self._close)
        for listener in listeners:
            log.info(message, listener)

    def _look(self, board: Board, master: Master | None) -> None:
        while True:
            if master is not None:
                board.release_all_but(master.workers)
            self._history.sample()
            if self._statsd is not None:
                totals = total_of(board.read().values())
                self._statsd.send_workers(totals.workers[State.READY])
            sleep(_INTERVAL)

    def _close(self) -> None:
        """Remove the files of Unix sockets, at the end of the process that has made them."""
        for listener in self._listeners:
            listener.close()

    def _leave_behind(self) -> None:
        """Close what is the master's, in a worker that was just forked."""
        self._listeners.clear()
        for server in self._servers:
            for listener in server.listeners:
                listener.close()
            for protocol in list(server.connections):
                protocol.conn.close()
        self._servers.clear()


def _make_board(figures: int | None) -> Board:
    if figures is None:
        return Board()
    board = Board.adopt(figures)
    if board is None:
        log.info("the figures begin anew: the version before this one had others")
        return Board()
    return board


def _watch_backlog(fds: Callable[[], Iterable[int]]) -> None:
    watch = BacklogWatch(fds)
    while True:
        sleep(_INTERVAL)
        watch.look(monotonic())


def _send(statsd: Statsd, figures: Figures, meter: Meter) -> None:
    statsd.send(figures)


def check_admin(config: Config) -> None:
    """Check what ``admin_bind`` says.

    Raises:
        SettingError: Others can reach that address, and nobody said that they may.
    """
    for address in () if config.admin_public else config.admin_bind or ():
        host = getattr(address, "host", None)
        if host is not None and not _is_loopback(host):
            raise SettingError(
                f"admin_bind = '{address}' ({config.origin('admin_bind')}): others can reach that address, and nobody "
                "is asked for a password; bind to 127.0.0.1 or a Unix socket, or say --admin-public"
            )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
