"""``flask greenserve``: what ``flask run`` does, with the server that production has. An entry point finds it."""

from __future__ import annotations

import logging

import click
from flask.cli import ScriptInfo, pass_script_info
from flask.helpers import get_debug_flag
from werkzeug._reloader import run_with_reloader
from werkzeug.debug import DebuggedApplication

from greenserve.contrib._programs import restart_patched, server_keywords
from greenserve.net.listeners import listen
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["command"]


@click.command("greenserve", short_help="Serve the application with greenserve.")
@click.option("--host", "-h", default="127.0.0.1", show_default=True, help="The interface to listen on.")
@click.option("--port", "-p", default=5000, show_default=True, help="The port; 0 is any that is free.")
@click.option("--reload/--no-reload", default=None, help="Begin again when a file changes. On with --debug.")
@click.option("--debugger/--no-debugger", default=None, help="Show errors in the browser. On with --debug.")
@pass_script_info
def command(info: ScriptInfo, host: str, port: int, reload: bool | None, debugger: bool | None) -> None:
    """Serve the application, patched from its first line.

    GREENSERVE_* in the environment are the server's settings.
    """
    restart_patched()
    is_debug = get_debug_flag()

    def serve() -> None:
        # In here, so that a mistake in the application does not end the reloader: it waits for the next change.
        app: WSGIApp = info.load_app()
        if is_debug if debugger is None else debugger:
            app = DebuggedApplication(app, evalex=True)
        listener = listen((host, port))
        click.echo(f" * Serving {info.app_import_path or 'the application'} at {_url(*listener.getsockname()[:2])}")
        _show_accesses()
        Server(listener, app, **server_keywords()).serve_forever()

    if is_debug if reload is None else reload:
        run_with_reloader(serve)
    else:
        serve()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _show_accesses() -> None:
    logger = logging.getLogger("greenserve.access")
    if not logger.handlers:  # else the application has set it up
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
        logger.propagate = False
