"""What both gunicorn programs share: gunicorn as a library, with one worker and no access log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gunicorn.app.base

from benchmarks import apps
from benchmarks.servers import program

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["serve"]


def serve(host: str, port: int, app: str, **settings: Any) -> None:
    """Serve ``app`` with gunicorn; ``settings`` are its own, by their names in its configuration file."""
    shared = {
        "bind": f"{host}:{port}",
        "backlog": program.BACKLOG,
        "workers": 1,
        "keepalive": 75,
        "loglevel": "warning",
        "worker_tmp_dir": "/dev/shm",  # its heartbeat file, which a disk may hold up
        "control_socket_disable": True,
    }
    _Application(app, {**shared, **settings}).run()


class _Application(gunicorn.app.base.BaseApplication):  # type: ignore[misc]  # no types are published
    def __init__(self, app: str, settings: dict[str, Any]) -> None:
        self._app = app
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> WSGIApplication:
        return apps.load(self._app)
