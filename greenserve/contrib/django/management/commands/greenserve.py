"""``manage.py greenserve [ADDRESS:PORT]``: what ``runserver`` does, with the server that production has.

Options, checks, automatic reload and, where ``DEBUG`` is on, static files are those of Django's own command.

Facts this rests on (Django 4.2 to 5.2):

- ``runserver`` makes its server from the command's ``server_cls``, and mixes another class into it for threads.
- ``django.db`` keeps connections in a ``threading.local`` that it makes when it is imported, long before any command.
- The automatic reload runs the program again in a child, in the way that it was started.

What this means for us: the program begins again, patched, before the command looks at its arguments.
"""

from __future__ import annotations

import logging
import socket
from typing import Any

from django.apps import apps
from django.contrib.staticfiles.management.commands import runserver

from greenserve.contrib._programs import restart_patched, server_keywords
from greenserve.net.listeners import listen
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["Command"]

# Django's own logger for this puts the time before the line.
_LOG_FORMAT = '"%(r)s" %(s)s %(B)s'


class GreenServer:
    """Our server, made and run as those of ``socketserver`` are."""

    def __init__(self, address: tuple[str, int], handler: object, ipv6: bool = False) -> None:
        self.listener = listen(address, socket.AF_INET6 if ipv6 else socket.AF_INET)
        self.server_port: int = self.listener.getsockname()[1]

    def set_app(self, app: WSGIApp) -> None:
        self._app = app

    def serve_forever(self) -> None:
        """Serve until the process is told to end. May switch."""
        log = logging.getLogger("django.server")
        Server(self.listener, self._app, log=log, log_format=_LOG_FORMAT, **server_keywords()).serve_forever()


class Command(runserver.Command):
    """The command."""

    help = "Serves the project with greenserve, reloads it when it changes, and serves static files if DEBUG is on."
    server_cls = GreenServer

    def run_from_argv(self, argv: list[str]) -> None:
        restart_patched()
        super().run_from_argv(argv)

    def get_handler(self, *args: Any, **options: Any) -> Any:
        if not apps.is_installed("django.contrib.staticfiles"):
            options["use_static_handler"] = False
        return super().get_handler(*args, **options)
