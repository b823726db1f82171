"""A worker: the process that serves, from the fork to its end. Knows of its master the channel and what it forked from.

It patches, loads the application, serves, and shows its pulse. It never replaces itself: it asks to be replaced, and
serves on until the master says that somebody else does.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import traceback
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from greenserve import monkey
from greenserve._bus.place import Place, take_place
from greenserve._originals import monotonic, set_signal_handler
from greenserve._words import counted
from greenserve.apps import AppError
from greenserve.config import Config
from greenserve.core.greenthreads import spawn
from greenserve.core.hub import get_hub
from greenserve.errors import GreenserveError
from greenserve.supervisor.balance import SharedListener
from greenserve.supervisor.changes import watch_files, watched_files
from greenserve.supervisor.identity import Owner, set_title
from greenserve.supervisor.memory import resident_bytes
from greenserve.supervisor.pulse import Beat
from greenserve.supervisor.site import serve_to_the_end
from greenserve.supervisor.sticky import Handover
from greenserve.supervisor.workers import Worker, encode_message
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

if TYPE_CHECKING:
    from greenserve.supervisor.master import Master

__all__ = ["APP_FAILED", "WorkerProcess"]

log = logging.getLogger("greenserve.supervisor")

# The exit status of a worker that could not start. gunicorn's.
APP_FAILED = 4

# How often a worker shows its pulse and looks at its age and size, in seconds, unless --timeout is very short.
_INTERVAL = 0.5

# Of worker_lifetime, at most this share is left out by chance: workers of one age are not replaced at one time.
_LIFETIME_JITTER = 0.1

# What a worker has nothing to do with, or gets by way of its master: Ctrl-C goes to all processes of the terminal.
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
_DEFAULT = (signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD, signal.SIGWINCH)


class WorkerProcess:
    """This process, as a worker.

    Attributes:
        age: As in `Worker`.
        number: As in `Worker`.
        pid: This process.
        ppid: The master.
        cfg: The settings, under gunicorn's name.
        log: Where hooks may log, under gunicorn's name.
        app: The application, once it is loaded; gunicorn calls it ``wsgi``, too.
        server: What serves, once there is an application.
    """

    def __init__(self, master: Master, worker: Worker) -> None:
        self.master = master
        self.number = worker.number
        self.age = worker.age
        self.pid = os.getpid()
        self.ppid = master.pid
        self.log = log
        self.app: WSGIApp | None = None
        self.server: Server | None = None
        self._worker = worker
        self._site = master.site
        self._channel = worker.other_end
        self._handover: Handover | None = None
        self._retires = False
        self._due = 0.0
        self._started = monotonic()
        config = self.cfg
        self._interval = _INTERVAL if config.timeout is None else min(_INTERVAL, config.timeout / 4)
        self._max_requests: float = float("inf")
        if config.max_requests is not None:
            self._max_requests = config.max_requests + random.randint(0, config.max_requests_jitter)
        self._lifetime: float = float("inf")
        if config.worker_lifetime is not None:
            self._lifetime = config.worker_lifetime * random.uniform(1 - _LIFETIME_JITTER, 1)
        self._max_rss: float = float("inf") if config.worker_max_rss is None else config.worker_max_rss

    @property
    def cfg(self) -> Config:
        return self._site.config

    @property
    def wsgi(self) -> WSGIApp | None:
        """``app``, under another of gunicorn's names."""
        return self.app

    @property
    def nr(self) -> int:
        """How many requests it has served, under gunicorn's name."""
        return 0 if self.server is None else self.server.requests

    # Life -----------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve until the end, and return the exit status. May switch."""
        try:
            self._leave_master_behind()
            server = self._start()
        except GreenserveError as exc:
            return self._fail(str(exc))
        except Exception as exc:  # noqa: BLE001 - of a hook, or of ours: the master tells it
            return self._fail("".join(traceback.format_exception(type(exc), exc, exc.__traceback__)).rstrip())
        try:
            return serve_to_the_end(server, lambda exc: self._leave(repr(exc)))
        finally:
            self._site.hooks.call_safely("worker_exit", self.master, self)
            self._site.logs.flush()

    def _leave_master_behind(self) -> None:
        for number in _IGNORED:
            set_signal_handler(number, signal.SIG_IGN)
        for number in _DEFAULT:
            set_signal_handler(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        master = self.master
        # Whoever kept another worker's end of a channel open would keep that from seeing the master's death.
        for other in [*master.workers.values(), self._worker]:
            other.channel.close()
        for function in master.in_worker:
            function()
        master.listeners.close_others(self.number)

    def _start(self) -> Server:
        config, site = self.cfg, self._site
        site.hooks.call("post_fork", master := self.master, self)
        Owner(config).become()
        take_place(Place(self.number, master.bus))
        set_title(config, f"worker {self.number + 1}")
        if config.patch:
            monkey.patch_all()
        watched = watched_files(config, site.config_file)
        before = watched.snapshot() if config.reload and self.number == 0 else None
        app = master.app if master.app is not None else self._load()
        self.app = site.hooks.wrap(app, self)
        sockets = [
            SharedListener.take(sock, master.shares, self.number) if is_shared else sock
            for sock, is_shared in master.listeners.of_worker(self.number)
        ]
        self.server = server = site.build(config, sockets, self.app, config.workers > 1)
        if config.sticky == "cookie" and master.exchange is not None:
            self._handover = Handover(master.exchange, self.number, master.shares, server)
            server.app = self._handover.wrap(server.app)
            self._handover.start()
        for sock in sockets:
            if isinstance(sock, SharedListener):
                sock.count = server.connections.__len__
        for function in site.on_worker:
            function(self)
        site.hooks.call("post_worker_init", self)
        self._take_signals(server)
        if config.batch_scheduling:
            _let_others_finish()
        server.start()
        master.shares.enter(self.number)
        hub = get_hub()
        self._due = monotonic()
        self._beat()
        spawn(self._watch_master)
        if before is not None:
            watch_files(watched, before, config.reload_engine, partial(self._tell, "changed"))
        hub.call_soon(self._tell, "ready")
        return server

    def _load(self) -> WSGIApp:
        if not self.cfg.reload:
            return self._site.load(self.cfg)
        sys.dont_write_bytecode = True  # a file that is saved twice in a second looks unchanged to its bytecode
        try:
            return self._site.load(self.cfg)
        except AppError as exc:
            log.error("%s\nThe next change of a file tries again.", exc)
            return partial(_show_failure, str(exc))

    def _fail(self, text: str) -> int:
        self._tell("failed", text)
        self._site.logs.flush()
        return APP_FAILED

    def _tell(self, what: str, text: str = "") -> None:
        try:
            self._channel.setblocking(False)
            self._channel.sendall(encode_message(what, text))
        except OSError as exc:
            log.debug("can't tell the master %r: %s", what, exc)

    def _watch_master(self) -> None:
        """Wait for the end of the master, and then leave."""
        self._channel.wait_readable()
        log.warning("the master is gone: this worker leaves, too")
        assert self.server is not None
        self.server.stop()

    # Signals --------------------------------------------------------------------------------------------------------

    def _take_signals(self, server: Server) -> None:
        hub = get_hub()

        def stop(number: int, frame: FrameType | None) -> None:
            # The master may know already; it does not when somebody else has sent the signal.
            hub.call_soon(self._leave)
            if number == signal.SIGQUIT:
                server.stop(0)
                hub.call_soon(self._site.hooks.call_safely, "worker_int", self)
            else:
                server.stop()

        set_signal_handler(signal.SIGTERM, stop)
        set_signal_handler(signal.SIGQUIT, stop)
        set_signal_handler(signal.SIGABRT, self._abort)
        set_signal_handler(signal.SIGUSR1, lambda number, frame: hub.call_soon(self._site.logs.reopen))

    def _abort(self, number: int, frame: FrameType | None) -> None:
        """Show where the hub is blocked, and end. Called by the system, in the middle of what blocks it."""
        stack = "".join(traceback.format_stack(frame)).rstrip()
        log.critical("this worker's hub is blocked, here:\n%s", stack)
        self._site.hooks.call_safely("worker_abort", self)
        self._site.logs.flush()
        os._exit(1)

    def _leave(self, why: str = "") -> None:
        """Take no more part. ``why`` is what the application has raised, if that was it."""
        self._tell("leaving", why)
        self.master.shares.leave(self.number)
        if self._handover is not None:
            self._handover.stop()

    # Pulse ----------------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """Show the pulse, look at age and size, let old clients count less, and come again."""
        server = self.server
        assert server is not None
        now = monotonic()
        rss = resident_bytes()
        beat = Beat(now, max(0.0, now - self._due), rss, len(server.connections), server.requests, server.failed)
        self._worker.pulse.write(beat)
        self.master.shares.age(self.number)
        if not self._retires and (reason := self._why_retire(beat)):
            self._retires = True
            self._tell("retire", reason)
        self._due = now + self._interval
        get_hub().call_at(self._due, self._beat)

    def _why_retire(self, beat: Beat) -> str | None:
        if beat.requests >= self._max_requests:
            return f"max_requests: it has served {counted(beat.requests, 'request')}"
        if beat.at - self._started >= self._lifetime:
            return f"worker_lifetime: it has run for {beat.at - self._started:.0f} s"
        if beat.rss > self._max_rss:
            return f"worker_max_rss: it uses {beat.rss / (1 << 20):.0f} MiB"
        return None


def _let_others_finish() -> None:
    """Have this OS thread, the hub's, no longer interrupt whoever has its core each time it wakes (Linux sched(7)).

    A worker that has nothing to do sleeps, and one request wakes it. If it took the core from another worker for that
    one request, and that one took it back, both would do little else under load but change places. What the application
    starts from here is the same way, as with `nice`.
    """
    with suppress(AttributeError, OSError):  # another system than Linux has none of this, and a sandbox may forbid it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:  # else somebody has chosen
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _show_failure(text: str, environ: Environ, start_response: Any) -> list[bytes]:
    """What serves under --reload in place of an application that does not load."""
    body = f"{text}\n".encode("utf-8", "backslashreplace")
    start_response(
        "500 Internal Server Error",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
    )
    return [body]
