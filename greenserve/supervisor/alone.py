"""One process that serves by itself, without a master. Nobody replaces it when it ends."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial
from types import FrameType

from greenserve._originals import set_signal_handler
from greenserve.core.greenthreads import spawn
from greenserve.core.hub import get_hub
from greenserve.core.waiters import sleep
from greenserve.errors import SettingError
from greenserve.supervisor.identity import Owner, PidFile, has_terminal, set_title
from greenserve.supervisor.listeners import Listeners, activated_addresses
from greenserve.supervisor.notify import Notifier
from greenserve.supervisor.site import Site, serve_to_the_end
from greenserve.wsgi.server import Server

__all__ = ["serve_alone"]

log = logging.getLogger("greenserve")

_FOR_A_MASTER = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


def serve_alone(site: Site) -> int:
    """Serve in this process until the end, and return the exit status. May switch.

    Raises:
        GreenserveError: It could not start.
    """
    config = site.config
    notifier = Notifier(os.environ)
    activated = activated_addresses(os.environ)
    owner = Owner(config)
    # First of all, since an application may take seconds to load, and a busy port is told at once.
    listeners = Listeners(config, 1, activated)
    pidfile = None
    try:
        if config.pidfile is not None:
            pidfile = PidFile(config.pidfile)
        owner.give_logs(config)
        owner.become()
        set_title(config, "server")
        server = site.build(config, [sock for sock, _ in listeners.of_worker(0)], site.load(config), False)
        _take_signals(site, server, notifier)
        for function in site.on_server:
            function(server)
        server.start()
        site.announce(config, str(listeners), None)
        notifier.ready("serving")
        if notifier.watchdog is not None:
            spawn(_feed_watchdog, notifier, notifier.watchdog)
        return serve_to_the_end(server, partial(_leave, config.graceful_timeout, notifier))
    finally:
        listeners.close()
        if pidfile is not None:
            pidfile.remove()


def _leave(graceful_timeout: float, notifier: Notifier, exc: BaseException) -> None:
    log.warning("the application ends this server by %r: stopping within %g s", exc, graceful_timeout)
    notifier.stopping()


def _feed_watchdog(notifier: Notifier, interval: float) -> None:
    # Here, so that it starves when the hub is blocked: then the service manager starts us anew.
    while True:
        notifier.alive()
        sleep(interval)


def _take_signals(site: Site, server: Server, notifier: Notifier) -> None:
    """The first INT or TERM stops gracefully. A QUIT, or an INT after either, stops at once."""
    received: set[int] = set()
    hub = get_hub()

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGQUIT or (number == signal.SIGINT and received):
            server.stop(0)
        elif not received:
            server.stop()
            # Not from in here: the signal may have come in the middle of writing another line.
            hub.call_soon(log.info, "stopping within %g s; Ctrl-C or QUIT stops at once", site.config.graceful_timeout)
            hub.call_soon(notifier.stopping)
        received.add(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        set_signal_handler(number, stop)
    set_signal_handler(signal.SIGUSR1, lambda number, frame: hub.call_soon(site.logs.reopen))
    if not has_terminal():
        # A terminal sends some of these itself, and there they have to do what they do to every program. From anybody
        # else they are meant for a master, and would end, or suspend, a server that serves well.
        for number in _FOR_A_MASTER:
            set_signal_handler(number, lambda number, frame: hub.call_soon(_refuse, number))
    if site.config.certfile is not None:
        set_signal_handler(signal.SIGHUP, lambda number, frame: hub.call_soon(_reload_certificates, server))


def _refuse(number: int) -> None:
    log.warning("%s needs a master, which --workers starts: nothing is done", signal.Signals(number).name)


def _reload_certificates(server: Server) -> None:
    try:
        server.reload_certificates()
    except SettingError as exc:
        log.error("the certificate stays as it was: %s", exc)
    else:
        log.info("the certificate was read again")
