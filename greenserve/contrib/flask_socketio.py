"""Flask-SocketIO on green threads: its class `SocketIO` with the mode ``greenserve``, whose `run` is our server."""

from __future__ import annotations

from typing import Any

import flask_socketio
from werkzeug._reloader import run_with_reloader
from werkzeug.debug import DebuggedApplication

from greenserve.contrib._sessions import look_after
from greenserve.contrib.socketio import MODE, register
from greenserve.net.listeners import listen
from greenserve.wsgi.server import Server

__all__ = ["SocketIO"]

_HOST, _PORT = "127.0.0.1", 5000


class SocketIO(flask_socketio.SocketIO):
    """``flask_socketio.SocketIO`` that runs in green threads unless another ``async_mode`` is asked for.

    Nothing is patched: handlers wait with ``socketio.sleep``, or in a program that is patched as they like.
    """

    _running: Server | None = None

    def init_app(self, app: Any, **keywords: Any) -> None:
        """As Flask-SocketIO's."""
        register()
        keywords["async_mode"] = keywords.get("async_mode") or self.server_options.get("async_mode") or MODE
        super().init_app(app, **keywords)
        look_after(self.server.eio)

    def run(self, app: Any, host: str | None = None, port: int | None = None, **keywords: Any) -> None:
        """Serve ``app`` until `stop`. May switch.

        Args:
            host: By default 127.0.0.1.
            port: By default that of ``SERVER_NAME`` in the app's configuration, or 5000.
            keywords: ``debug``, ``log_output``, ``use_reloader`` and ``reloader_options`` as Flask-SocketIO has them;
                the others are those of `greenserve.wsgi.Server`.
        """
        if self.async_mode != MODE:
            super().run(app, host, port, **keywords)
            return
        app.debug = debug = keywords.pop("debug", app.debug)
        use_reloader = keywords.pop("use_reloader", debug)
        reloader_options = keywords.pop("reloader_options", {})
        keywords.setdefault("log_output", debug)
        if debug:
            # Around the application, and inside of what answers Socket.IO's requests.
            self.sockio_mw.wsgi_app = DebuggedApplication(self.sockio_mw.wsgi_app, evalex=True)
        address = _HOST if host is None else host, _port_of(app) if port is None else port

        def serve() -> None:
            self._running = Server(listen(address), app, **keywords)
            self._running.serve_forever()

        if use_reloader:
            run_with_reloader(serve, **reloader_options)
        else:
            serve()

    def stop(self) -> None:
        """Let `run` return, as soon as the requests that are running have ended. From a handler or anywhere else."""
        if self._running is None:
            super().stop()
        else:
            self._running.stop()


def _port_of(app: Any) -> int:
    _, colon, port = (app.config["SERVER_NAME"] or "").rpartition(":")
    return int(port) if colon else _PORT
