"""The worker for gunicorn: ``gunicorn -k greenserve.contrib.gunicorn.Worker MODULE:APP``.

gunicorn keeps processes, reloads, settings and logs; what a worker process does, accept and answer, is our server's.
Knows nothing of HTTP, and of other processes only what gunicorn asks of a worker.

Facts this rests on (gunicorn 22 to 27):

- The master loads the worker's class, and may run a thread of its own with an asyncio loop: a patch on import would
  reach that. ``init_process`` is the first of the worker that runs in the child.
- The master kills a worker that has not called ``notify`` for ``timeout`` seconds: first by SIGABRT, then by SIGKILL.
- ``alive`` becomes false when the worker is to stop. Its reloader sets it in a thread.

What this means for us: the patch is made in ``init_process``; one green thread gives the sign of life, which stops when
the hub does, and looks at ``alive`` meanwhile.
"""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterable
from datetime import timedelta
from ssl import SSLContext
from types import FrameType
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.wsgi import WSGIErrorsWrapper
from gunicorn.sock import ssl_context
from gunicorn.workers import base

from greenserve import monkey
from greenserve.core.greenthreads import spawn
from greenserve.core.waiters import sleep
from greenserve.net.sockets import GreenSocket
from greenserve.settings import SETTINGS
from greenserve.wsgi.accesslog import AccessLog, Record
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.failures import REFUSED
from greenserve.wsgi.run import WSGIApp
from greenserve.wsgi.server import Server

__all__ = ["Worker"]

# At most so many seconds between two signs of life, and until a change of `alive` is seen.
_HEARTBEAT = 1.0

# gunicorn's way to say that there is no limit is 0.
_NO_LIMIT = 1 << 30

# Settings of gunicorn's own parser: what they would let pass is dropped or refused here.
_WITHOUT_EFFECT = (
    "casefold_http_method",
    "forwarder_headers",
    "http_protocols",
    "permit_obsolete_folding",
    "permit_unconventional_http_method",
    "permit_unconventional_http_version",
    "secure_scheme_headers",
    "strip_header_spaces",
)


class Worker(base.Worker):
    """Serves gunicorn's listeners in green threads, as many connections at once as ``worker_connections`` allows."""

    alive: bool
    sockets: list[Any]

    _server: Server | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Say in the log which settings this worker can't follow. gunicorn's master calls it once.

        Raises:
            RuntimeError: The worker would not do what was asked for at all. gunicorn ends with the message.
        """
        if getattr(cfg, "protocol", "http") != "http":
            raise RuntimeError(f"protocol = {cfg.protocol!r}: this worker speaks HTTP alone")
        if cfg.preload_app:
            log.warning(
                "preload_app: the application is loaded before the standard library is patched in the workers; "
                "what it has taken out of modules by then goes on blocking"
            )
        for name in _WITHOUT_EFFECT:
            setting = cfg.settings.get(name)
            if setting is not None and setting.get() != type(setting)().get():
                log.warning("%s has no effect: the worker has a parser of its own", name)

    def init_process(self) -> None:
        """Patch the standard library, then load the application and serve until the end."""
        with warnings.catch_warnings(record=True) as late:
            warnings.simplefilter("always", monkey.PatchWarning)
            monkey.patch_all()
        for warning in late:
            self.log.warning("%s", warning.message)
        self.sockets = [GreenSocket(fileno=each.detach()) for each in self.sockets]
        super().init_process()

    def run(self) -> None:
        """Serve until ``alive`` is false and the requests that run have ended. May switch."""
        _send_logs_to(self.log, self.cfg)
        self._server = server = Server(self.sockets, self._app(), **_keywords(self.cfg))
        server.access_log = _Accesses(self)
        server.can_sendfile = self.cfg.sendfile is not False
        server.start()
        heart = spawn(self._beat, server)
        try:
            server.join()
        finally:
            heart.kill()

    def _beat(self, server: Server) -> None:
        interval = min(_HEARTBEAT, self.timeout / 2) if self.timeout else _HEARTBEAT
        while True:
            self.notify()
            if self.ppid != os.getppid() and self.alive:
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
            if not self.alive:
                server.stop()
            sleep(interval)

    def _app(self) -> WSGIApp:
        """The application, counted where there is a limit, under its path, and with what is to be called before it."""
        app: WSGIApp = self.wsgi
        before = _chosen(self.cfg, "pre_request")
        mount = os.environ.get("SCRIPT_NAME", "")
        if before is None and not mount and not self.cfg.max_requests:
            return app

        def counted(environ: Environ, start_response: Any) -> Iterable[bytes]:
            if mount and environ["PATH_INFO"].startswith(mount):
                environ["SCRIPT_NAME"] = mount
                environ["PATH_INFO"] = environ["PATH_INFO"][len(mount) :]
            self.nr += 1
            if self.nr == self.max_requests:
                self.log.info("Autorestarting worker after current request.")
                self._stop()
            if before is not None:
                before(self, _Request(environ))
            return app(environ, start_response)

        return counted

    def _stop(self) -> None:
        self.alive = False
        if self._server is not None:
            self._server.stop()

    # Signals: gunicorn installs these. SIGQUIT and SIGINT end the process by SystemExit in the main greenlet ---------

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: answer the requests that run, and end."""
        super().handle_exit(sig, frame)
        self._stop()

    def handle_abort(self, sig: int, frame: FrameType | None) -> None:
        """SIGABRT: nothing has let the hub run for ``timeout`` seconds. Say what did not."""
        where = "".join(traceback.format_stack(frame))
        self.log.critical("the worker was held up for more than %s s, here:\n%s", self.cfg.timeout, where)
        super().handle_abort(sig, frame)


class _Request:
    """What gunicorn's hooks and its access log get to know of a request: the attributes of its own class."""

    __slots__ = ("environ",)

    def __init__(self, environ: Environ) -> None:
        self.environ = environ

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    @property
    def uri(self) -> str:
        return str(self.environ["RAW_URI"])

    @property
    def path(self) -> str:
        return str(self.environ["RAW_PATH_INFO"])

    @property
    def query(self) -> str:
        return str(self.environ["QUERY_STRING"])

    @property
    def scheme(self) -> str:
        return str(self.environ["wsgi.url_scheme"])

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(map(int, self.environ["SERVER_PROTOCOL"].removeprefix("HTTP/").split(".")))

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [(name.upper(), value) for name, value in self.environ["headers_raw"]]


class _Response:
    """The same for the answer."""

    __slots__ = ("headers", "sent", "status")

    def __init__(self, record: Record) -> None:
        self.status = record.status  # the code alone; empty if the application never answered
        lines = record.fields.decode("latin-1").split("\r\n")
        self.headers = [(name, value) for name, colon, value in (line.partition(": ") for line in lines) if colon]
        self.sent = record.sent

    @property
    def status_code(self) -> int | None:
        return int(self.status) if self.status else None

    @property
    def response_length(self) -> int:
        return self.sent


class _Accesses(AccessLog):
    """Tells gunicorn's logger, and the hook ``post_request``, of each request."""

    __slots__ = ("_after", "_log", "_worker")

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._after = _chosen(worker.cfg, "post_request")
        # One of another class may count requests where no access log is written.
        is_plain = type(worker.log).access is Logger.access
        is_silent = is_plain and not getattr(worker.log, "access_log_enabled", True)
        self._log = None if is_silent else worker.log

    @property
    def enabled(self) -> bool:
        return self._log is not None or self._after is not None

    def write(self, record: Record) -> None:
        environ = record.environ
        request, response = _Request(environ), _Response(record)
        if self._log is not None:
            self._log.access(response, request, environ, timedelta(seconds=record.seconds))
        if self._after is not None and REFUSED not in environ:
            try:
                self._after(self._worker, request, environ, response)
            except Exception:
                self._worker.log.exception("Exception in post_request hook")


class _Forwarder(logging.Handler):
    """Passes what our loggers say on to gunicorn's, whatever its class."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.log(record.levelno, "%s", record.getMessage(), exc_info=record.exc_info)


def _send_logs_to(log: Any, cfg: Any) -> None:
    logger = logging.getLogger("greenserve")
    if not logger.handlers:  # else somebody has set it up, as with logconfig
        logger.addHandler(_Forwarder(log))
        logger.setLevel(cfg.loglevel.upper())
        logger.propagate = False


def _chosen(cfg: Any, name: str) -> Callable[..., Any] | None:
    """The hook of that name, or None where it is gunicorn's own, which does next to nothing."""
    hook: Callable[..., Any] = cfg.settings[name].get()
    return None if hook is cfg.settings[name].default else hook


def _tls(cfg: Any) -> SSLContext:
    """gunicorn's context, or that of its hook ``ssl_context``; with HTTP/2 it would offer what nobody here speaks."""
    context: SSLContext = ssl_context(cfg)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _keywords(cfg: Any) -> dict[str, Any]:
    """What gunicorn's settings are as keywords of `Server`."""
    line = cfg.limit_request_line or _NO_LIMIT
    field = cfg.limit_request_field_size or _NO_LIMIT
    # gunicorn has no limit for the head as a whole: ours grows with what one line or one field may be.
    above_ours = [
        max(0, value - SETTINGS[name].default)
        for name, value in (("limit_request_line", line), ("limit_request_field_size", field))
    ]
    return {
        "ssl_context": _tls(cfg) if cfg.is_ssl else None,
        "environ": {"wsgi.errors": WSGIErrorsWrapper(cfg)},
        "multiprocess": cfg.workers > 1,
        "keep_underscores": cfg.header_map == "dangerous",
        "max_size": cfg.worker_connections,
        "keep_alive": cfg.keepalive,
        "graceful_timeout": cfg.graceful_timeout,
        "limit_request_line": line,
        "limit_request_fields": cfg.limit_request_fields or _NO_LIMIT,
        "limit_request_field_size": field,
        "limit_request_head": SETTINGS["limit_request_head"].default + sum(above_ours),
        # A peer on a Unix socket is a proxy to gunicorn, whatever the addresses are.
        "forwarded_allow_ips": [*cfg.forwarded_allow_ips, "unix"],
        "proxy_protocol": {True: "v1", False: "off"}.get(cfg.proxy_protocol, cfg.proxy_protocol),
        "proxy_allow_from": [*cfg.proxy_allow_ips, "unix"],
    }
