"""A configuration file: Python that assigns settings, or TOML. Knows no setting; ``config`` weighs the values.

What a Python file calls by another name than a setting's is its own: helpers, imports, and the functions that
``supervisor.hooks`` looks for.
"""

from __future__ import annotations

import ast
import os
import re
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from greenserve import extras
from greenserve._suggest import suggestion
from greenserve.config import Source
from greenserve.errors import GreenserveError
from greenserve.settings import ALIASES, SETTINGS

__all__ = ["DEFAULT_FILE", "WITHOUT_EFFECT", "ConfigFile", "ConfigFileError", "read_config_file"]

DEFAULT_FILE = "greenserve.conf.py"

_REFUSED = "what breaks HTTP's grammar is always refused"
_SYSLOG = "log_config can have a handler for syslog"
_HANDSHAKE = "handshakes have a deadline, and keep nobody waiting"
_HTTP2 = "HTTP/1.1 is spoken; a proxy in front can speak HTTP/2"

# gunicorn's settings that have no counterpart, with what to know about each. Those under which it changed what comes
# over the wire must not be passed over in silence.
WITHOUT_EFFECT = {
    "capture_output": "what the application prints goes where the server's own stdout and stderr go",
    "casefold_http_method": _REFUSED,
    "daemon": "leave that to the service manager",
    "disable_redirect_access_to_syslog": _SYSLOG,
    "do_handshake_on_connect": _HANDSHAKE,
    "enable_backlog_metric": "it is always among the figures",
    "enable_stdio_inheritance": "the workers always have the master's stdout and stderr",
    "forwarder_headers": "forwarded_fields says what is believed of a proxy",
    "header_map": "fields with an underscore in their names never get to the application",
    "http2_cleartext": _HTTP2,
    "http_protocols": _HTTP2,
    "log_syslog": _SYSLOG,
    "log_syslog_to": _SYSLOG,
    "logger_class": "log_config sets up the logs",
    "paste": "name the application as MODULE:APP",
    "permit_obsolete_folding": _REFUSED,
    "permit_unconventional_http_method": _REFUSED,
    "permit_unconventional_http_version": _REFUSED,
    "protocol": "HTTP is spoken",
    "reuse_address": "it always is",
    "root_path": "whoever is in front, or a middleware, sets SCRIPT_NAME",
    "secure_scheme_headers": "X-Forwarded-Proto tells the scheme, from the peers in forwarded_allow_ips",
    "sendfile": "files are sent by the system where it can",
    "spew": "there is none",
    "ssl_context": "certfile, keyfile, ca_certs, cert_reqs and ciphers say what TLS needs",
    "ssl_version": "it is what Python takes for safe",
    "strip_header_spaces": _REFUSED,
    "suppress_ragged_eofs": "a client that hangs up is no error",
    "syslog": _SYSLOG,
    "syslog_addr": _SYSLOG,
    "threads": "a worker serves each connection in a green thread",
    "tmp_upload_dir": "a request's body is in no file, unless the application puts it there",
    "worker_class": "there is one kind of worker, with green threads",
    "worker_tmp_dir": "workers need none",
}


class ConfigFileError(GreenserveError):
    """A configuration file can't be read. The message names it, and shows where it failed."""


class _FileSource(Source):
    """The settings in one file, which knows the line of each."""

    __slots__ = ("_lines",)

    def __init__(self, path: str, values: Mapping[str, object], lines: Mapping[str, int]) -> None:
        super().__init__(f"in {path}", values)
        self._lines = lines

    def where(self, name: str) -> str:
        line = self._lines.get(name)
        return super().where(name) if line is None else f"{super().where(name)}, line {line}"


class ConfigFile:
    """What a file says.

    Attributes:
        path: The file, as it was named.
        absolute: The same, from whichever directory.
        source: The settings in it.
        functions: The functions that a Python file defines, by their names.
        warnings: A line for each name that looks as if it were meant to be a setting, and is none.
    """

    __slots__ = ("absolute", "functions", "path", "source", "warnings")

    def __init__(
        self, path: str, absolute: str, source: Source, functions: dict[str, Callable[..., Any]], warnings: list[str]
    ) -> None:
        self.path = path
        self.absolute = absolute
        self.source = source
        self.functions = functions
        self.warnings = warnings


def read_config_file(path: str, directory: str = "") -> ConfigFile:
    """Read the settings in ``path``, which ends in ``.py`` or ``.toml``. Runs it, if it is Python.

    ``directory`` is what a relative path is relative to.

    Raises:
        ConfigFileError: It can't be read, is not right, or has another ending.
        MissingExtra: It is TOML, which Python reads itself since 3.11.
    """
    absolute = os.path.abspath(os.path.join(directory, path))
    try:
        with open(absolute, "rb") as file:
            content = file.read()
    except OSError as exc:
        raise ConfigFileError(f"can't read the configuration file {path}: {exc.strerror}") from exc
    if path.endswith(".toml"):
        return _read_toml(path, absolute, content)
    if path.endswith(".py"):
        return _run_python(path, absolute, content)
    raise ConfigFileError(f"the configuration file {path} has to end in .py or .toml")


def _read_toml(path: str, absolute: str, content: bytes) -> ConfigFile:
    toml = extras.load("toml", "greenserve._toml")
    try:
        text = content.decode()
        table = toml.loads(text)
    except ValueError as exc:  # TOMLDecodeError and UnicodeDecodeError are
        raise ConfigFileError(f"the configuration file {path} is not right: {exc}") from exc
    values = {name.replace("-", "_"): value for name, value in table.items()}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"""\s*["']?([A-Za-z][\w-]*)["']?\s*=""", line)
        if match:
            lines.setdefault(match[1].replace("-", "_"), number)
    return ConfigFile(path, absolute, _FileSource(path, values, lines), {}, [])


def _run_python(path: str, absolute: str, content: bytes) -> ConfigFile:
    names: dict[str, Any] = {"__file__": absolute, "__name__": "__config__"}
    try:
        code = compile(content, absolute, "exec")
        exec(code, names)  # a configuration in Python is run: that is what it is for
    except SyntaxError as exc:
        text = "".join(traceback.format_exception_only(type(exc), exc)).rstrip()
        raise ConfigFileError(f"the configuration file {path} is not right\n{text}") from exc
    except (Exception, SystemExit) as exc:
        tb = exc.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename != absolute:
            tb = tb.tb_next
        text = "".join(traceback.format_exception(type(exc), exc, tb)).rstrip()
        raise ConfigFileError(f"the configuration file {path} failed\n{text}") from exc
    known = [*SETTINGS, *ALIASES]
    values = {name: value for name, value in names.items() if name in SETTINGS or name in ALIASES}
    functions = {name: value for name, value in names.items() if callable(value) and name not in values}
    warnings = [
        f"{name} in {path} {remark}"
        for name, value in names.items()
        if not (name in values or name.startswith("_") or isinstance(value, ModuleType))
        if name in WITHOUT_EFFECT or not callable(value)
        if (remark := _remark(name, known))
    ]
    return ConfigFile(path, absolute, _FileSource(path, values, _assignments(content)), functions, warnings)


def _remark(name: str, known: list[str]) -> str | None:
    if name in WITHOUT_EFFECT:
        return f"has no effect: {WITHOUT_EFFECT[name]}"
    meant = suggestion(name, known, cutoff=0.85)
    return f"is not a setting{meant}" if meant else None


def _assignments(content: bytes) -> dict[str, int]:
    """Return the line in which each name is assigned, for the last time if there are several."""
    lines: dict[str, int] = {}
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            lines[node.id] = max(node.lineno, lines.get(node.id, 0))
    return lines
