"""Server hooks: functions in a configuration file in Python, under gunicorn's names. Knows no process by itself.

``server`` is the master (`greenserve.supervisor.master.Master`), ``worker`` the process that serves
(`greenserve.supervisor.child.WorkerProcess`); in a master it is what that knows of it
(`greenserve.supervisor.workers.Worker`).
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from greenserve._suggest import suggestion
from greenserve.configfile import ConfigFile, ConfigFileError
from greenserve.wsgi.environ import Environ
from greenserve.wsgi.run import ExcInfo, WSGIApp

__all__ = ["HOOKS", "HookRequest", "HookResponse", "Hooks", "misspelt_hooks"]

log = logging.getLogger("greenserve.supervisor")

# Their arguments, and when they are called.
HOOKS: dict[str, tuple[str, str]] = {
    "on_starting": ("server", "In the master, before the first worker is forked."),
    "when_ready": ("server", "In the master, once the first workers serve."),
    "on_reload": ("server", "In the master, when a HUP has come."),
    "pre_fork": ("server worker", "In the master, before a worker is forked."),
    "post_fork": ("server worker", "In the new worker, first of all; the patch is done after it."),
    "post_worker_init": ("worker", "In a worker that has loaded the application, before it serves."),
    "worker_int": ("worker", "In a worker that stops at once (QUIT)."),
    "worker_abort": ("worker", "In a worker that has not answered for --timeout (ABRT)."),
    "pre_exec": ("server", "Before a new master is started (USR2)."),
    "pre_request": ("worker req", "In a worker, before the application is called."),
    "post_request": ("worker req environ resp", "In a worker, after the answer's last block."),
    "child_exit": ("server worker", "In the master, after a worker has ended."),
    "worker_exit": ("server worker", "In a worker, last of all."),
    "nworkers_changed": (
        "server new_value old_value",
        "In the master, when the number of workers changes. The first old_value is None.",
    ),
    "on_exit": ("server", "In the master, last of all."),
}


class Hooks:
    """The hooks that somebody has written. One that is not there is called for nothing."""

    __slots__ = ("_functions",)

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        """Take the hooks among ``functions``.

        Raises:
            ConfigFileError: One can't be called with its arguments.
        """
        self._functions: dict[str, Callable[..., Any]] = {}
        for name, (arguments, _) in HOOKS.items():
            if name in functions:
                self._functions[name] = _fit(name, functions[name], arguments.split())

    def __bool__(self) -> bool:
        return bool(self._functions)

    def call(self, name: str, *args: Any) -> None:
        """Call the hook ``name``. What it raises comes out."""
        function = self._functions.get(name)
        if function is not None:
            function(*args)

    def call_safely(self, name: str, *args: Any) -> bool:
        """Call the hook ``name``, where nothing may fail for it: what it raises is logged. False if it has raised."""
        try:
            self.call(name, *args)
        except Exception as exc:
            log.error("the hook %s failed", name, exc_info=exc)
            return False
        return True

    def wrap(self, app: WSGIApp, worker: Any) -> WSGIApp:
        """Return ``app`` with ``pre_request`` and ``post_request`` around it, if there are any."""
        if not {"pre_request", "post_request"} & self._functions.keys():
            return app

        def hooked(environ: Environ, start_response: Any) -> Iterator[bytes]:
            return _run_hooked(self, app, worker, environ, start_response)

        return hooked


def _fit(name: str, function: Callable[..., Any], arguments: list[str]) -> Callable[..., Any]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one in C that does not tell
        return function
    # gunicorn's post_request once had fewer arguments, and takes functions of those still.
    for count in range(len(arguments), 1 if name == "post_request" else len(arguments) - 1, -1):
        try:
            signature.bind(*arguments[:count])
        except TypeError:
            continue
        return lambda *args: function(*args[:count])
    raise ConfigFileError(f"the hook {name} has to take these arguments: {name}({', '.join(arguments)})")


def misspelt_hooks(file: ConfigFile) -> list[str]:
    """Return a line for each function of ``file`` that looks like a hook that is not there, misspelt."""
    absent = [name for name in HOOKS if name not in file.functions]
    return [
        f"{name} in {file.path} is not a hook{meant}"
        for name in file.functions
        if not (name in HOOKS or name.startswith("_")) and (meant := suggestion(name, absent, cutoff=0.85))
    ]


class HookRequest:
    """A request as hooks see it.

    Attributes:
        method: Such as ``GET``.
        uri: The request target as it came.
        path: The path of it, decoded.
        query: What follows the question mark.
        headers: Names in capitals, with values, as gunicorn gives them.
    """

    __slots__ = ("headers", "method", "path", "query", "uri")

    def __init__(self, environ: Environ) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.path: str = environ["PATH_INFO"]
        self.query: str = environ["QUERY_STRING"]
        self.uri: str = environ["RAW_URI"]
        self.headers = [(name.upper(), value) for name, value in environ["headers_raw"]]


class HookResponse:
    """The answer as hooks see it.

    Attributes:
        status: Such as ``200 OK``; None if the application never answered.
        headers: Names and values as the application gave them.
        sent: Bytes of the body.
    """

    __slots__ = ("headers", "sent", "status")

    def __init__(self) -> None:
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.sent = 0


def _run_hooked(hooks: Hooks, app: WSGIApp, worker: Any, environ: Environ, start_response: Any) -> Iterator[bytes]:
    request, response = HookRequest(environ), HookResponse()

    def start(status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Any:
        response.status, response.headers = status, headers
        return start_response(status, headers, exc_info)

    hooks.call_safely("pre_request", worker, request)
    try:
        blocks = app(environ, start)
        try:
            for block in blocks:
                response.sent += len(block)
                yield block
        finally:
            if hasattr(blocks, "close"):
                blocks.close()
    finally:
        hooks.call_safely("post_request", worker, request, environ, response)
