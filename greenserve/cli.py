"""The command ``greenserve``: arguments to settings, settings to what is served.

Only this module writes to the terminal, sets up logging and changes the limits of the process.
"""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import resource
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TextIO

from greenserve import demo, extras, monkey
from greenserve._kinds import Flag, OrOff, Several
from greenserve._suggest import suggestion
from greenserve._version import __version__
from greenserve._words import counted
from greenserve.admin import Watch, check_admin
from greenserve.apps import AppError, load_app
from greenserve.config import Config, Source, load, misspelt_variables, read_environment
from greenserve.configfile import DEFAULT_FILE, WITHOUT_EFFECT, ConfigFile, read_config_file
from greenserve.debug import Watchdog, dump_on
from greenserve.errors import GreenserveError, SettingError
from greenserve.logs import LogFile, Logs, configure_logs, keep_logs_enabled
from greenserve.net.resolver import cache_names
from greenserve.net.sockets import GreenSocket
from greenserve.settings import SETTINGS, Setting
from greenserve.supervisor import Hooks, Master, Site, needs_master, serve_alone
from greenserve.supervisor.hooks import misspelt_hooks
from greenserve.supervisor.identity import find_owner
from greenserve.supervisor.sticky import check_settings
from greenserve.supervisor.surroundings import Surroundings
from greenserve.supervisor.upgrade import Start
from greenserve.wsgi import Server
from greenserve.wsgi.accesslog import AccessLog, Record
from greenserve.wsgi.logformats import format_for_terminal, format_json
from greenserve.wsgi.requestids import give_request_ids
from greenserve.wsgi.run import WSGIApp

__all__ = ["main"]

log = logging.getLogger("greenserve")

_WIDTH = 100
_COLUMN = 32  # where the text about an option begins

_POSITIONAL = "wsgi_app"

# gunicorn's short flags for what has no counterpart.
_SHORT_OF_GUNICORN = {"-D": "daemon", "-k": "worker_class"}

# What other servers' commands have instead.
_PARTS_OF_BIND = {"--host", "--port"}

# The one word that is no application: a module of this name is served as top:app.
_TOP = "top"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 after a graceful end, 1 when it could not start.

    argparse ends the process itself, with 2, when the options make no sense.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except GreenserveError as exc:
        _write(sys.stderr, f"greenserve: {exc}")
        return 1
    except KeyboardInterrupt:  # before the server runs; from then on it is a signal to stop
        return 128 + signal.SIGINT


def _run(argv: Sequence[str]) -> int:
    if argv and argv[0] == _TOP:
        status: int = extras.load("top", "greenserve.admin.top").run(argv[1:])
        return status
    parser = _Parser(prog="greenserve", add_help=False, allow_abbrev=False)
    known, unknown = parser.parse_known_args(list(map(_with_dashes, argv)))
    if unknown:
        parser.error(_explain_unknown(unknown))
    options = vars(known)
    if options.pop("help", False):
        _write(sys.stdout, parser.format_help())
        return 0
    if options.pop("version", False):
        _write(sys.stdout, f"greenserve {__version__}")
        return 0
    is_check, is_print = options.pop("check_config", False), options.pop("print_config", False)
    surroundings = Surroundings()
    config, file = _read_settings(options, surroundings.start)
    if is_print:
        _write(sys.stdout, "\n".join(config.lines()))
        return 0
    _check_log_format(config)
    check_settings(config)
    hooks = Hooks(file.functions if file else {})
    start = Start()
    # In a container process 1 is left all that lost their parents, and has to reap them. Who runs the application
    # can't: whoever waits for any child takes the end of the application's own away from it.
    is_alone = not (needs_master(config, hooks) or os.getpid() == 1 or start.old_master is not None)
    if config.patch and (is_alone or is_check):
        # Before the application and anything that it imports: an application that blocks the hub is the worst surprise.
        monkey.patch_all()
    surroundings.enter(config)
    _check_files(config)
    warnings = [*misspelt_variables(os.environ), *_remarks(file)]
    if is_check:
        for line in warnings:
            _write(sys.stderr, f"greenserve: {line}")
        find_owner(config)
        check_admin(config)
        Server([], _load(surroundings, config), log_output=False, **config.keywords_of("server"))
        return 0
    logs = _open_logs(config)
    # After what the application does at the end. `logging` knows no handlers from before somebody has set it up.
    atexit.register(logs.close)
    for line in warnings:
        log.warning("%s", line)
    _raise_file_limit()
    watch = Watch(config, logs, start.lives_with_old_master, start.figures)
    site = Site(
        config,
        hooks,
        logs,
        load=partial(_load, surroundings),
        build=partial(_build, logs),
        reread=partial(_reread, options, surroundings.start, file.path if file else None),
        announce=_announce,
        config_file=file.absolute if file else None,
        on_master=[watch.in_master],
        on_worker=[watch.in_worker, lambda worker: _prepare_process(site.config)],
        on_server=[watch.alone, lambda server: _prepare_process(site.config)],
    )
    return serve_alone(site) if is_alone else Master(site, start).run()


def _prepare_process(config: Config) -> None:
    """What the settings say about a process that serves, and not about its server."""
    if config.block_warn is not None:
        Watchdog(config.block_warn).start()
    if config.dump_on_usr2:
        dump_on(signal.SIGUSR2)
    if config.cache_names is not None:  # else it is the application's own affair
        cache_names(config.cache_names)


def _read_settings(
    options: dict[str, Any], directory: str, path: str | None = None
) -> tuple[Config, ConfigFile | None]:
    """Return the settings from all sources, and the configuration file if there is one: ``path``, if that is given.

    It is looked for in ``directory``, in which the command was started.
    """
    command_line = _command_line(options)
    ours, platform = read_environment(os.environ)
    if path is None:
        config = load(command_line, ours)
        path = config.config
    if path is None and os.path.exists(os.path.join(directory, DEFAULT_FILE)):
        path = DEFAULT_FILE
    if path is None:
        return load(command_line, ours, platform), None
    file = read_config_file(path, directory)
    return load(command_line, ours, file.source, platform), file


def _reread(options: dict[str, Any], directory: str, path: str | None) -> tuple[Config, Hooks]:
    config, file = _read_settings(options, directory, path)
    _check_log_format(config)
    for line in _remarks(file):
        log.warning("%s", line)
    return config, Hooks(file.functions if file else {})


def _remarks(file: ConfigFile | None) -> list[str]:
    return [*file.warnings, *misspelt_hooks(file)] if file else []


def _open_logs(config: Config) -> Logs:
    access_logfile = config.access_logfile
    if config.wsgi_app is None and not config.is_set("access_logfile") and sys.stdout.isatty():
        access_logfile = "-"  # who tries the demo by hand wants to see something happen
    return configure_logs(config.error_logfile, config.log_level, access_logfile, config.log_config)


def _build(logs: Logs, config: Config, sockets: Sequence[GreenSocket], app: WSGIApp, multiprocess: bool) -> Server:
    return Server(
        list(sockets),
        give_request_ids(app) if config.request_id else app,
        log=logs.access,
        log_output=logs.access is not None,
        log_format=_access_format(config, logs),
        multiprocess=multiprocess,
        **config.keywords_of("server"),
    )


def _announce(config: Config, where: str, workers: int | None) -> None:
    what = "the demo" if config.wsgi_app is None else config.wsgi_app
    by = "" if workers is None else f" with {counted(workers, 'worker')}"
    with suppress(OSError):  # nobody reads it any more, or the disk is full: no reason not to serve
        _write(sys.stdout, f"greenserve {__version__} serving {what} at {where}{by} (Ctrl-C stops)")


def _access_format(config: Config, logs: Logs) -> str | Callable[[Record], str]:
    """What makes the access lines: a person at a terminal gets short ones, unless asked for others."""
    if config.access_log_json:
        return format_json
    if isinstance(logs.access, LogFile) and logs.access.is_terminal and not config.is_set("access_logformat"):
        return format_for_terminal(logs.access.has_colours)
    log_format: str = config.access_logformat
    return log_format


def _check_log_format(config: Config) -> None:
    try:
        AccessLog(log, config.access_logformat)
    except ValueError as exc:
        where = config.origin("access_logformat")
        raise SettingError(f"access_logformat = {config.access_logformat!r} ({where}): {exc}") from exc


def _check_files(config: Config) -> None:
    """Tell of a file that can't be read where the setting that names it is known, and before there is any process."""
    for name in ("certfile", "keyfile", "ca_certs"):
        path = getattr(config, name)
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as exc:
                raise SettingError(f"{name} = {path!r} ({config.origin(name)}): {exc.strerror}") from exc


def _load(surroundings: Surroundings, config: Config) -> Callable[..., Any]:
    surroundings.enter(config)
    if config.wsgi_app is None:
        return demo.app
    try:
        return load_app(config.wsgi_app, config.factory)
    except AppError as exc:
        raise AppError(f"can't load {config.wsgi_app}\n{exc}") from exc
    finally:
        keep_logs_enabled()  # those too of modules that only the application has imported


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as exc:  # macOS says "unlimited" and means less
        log.debug("the limit of open files stays at %d: %s", soft, exc)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # as Python has it, where it was closed before the start: >&- in a shell
        return
    stream.write(text.rstrip("\n") + "\n")
    stream.flush()  # through a pipe the address must come now, and not with the next 8 KiB


# Options


class _Parser(argparse.ArgumentParser):
    """The options, made from `SETTINGS`. The values stay text: the settings read them."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(argument_default=argparse.SUPPRESS, usage="greenserve [options] [MODULE:APP]", **keywords)
        self.add_argument(_POSITIONAL, nargs="?")
        for name in ("help", "version", "check-config", "print-config"):
            short = ["-h"] if name == "help" else []
            self.add_argument(*short, f"--{name}", action="store_true")
        for setting in SETTINGS.values():
            if setting.name == _POSITIONAL:
                continue
            for name in (setting.name, *setting.aliases):
                self._add(setting, name)

    def _add(self, setting: Setting, name: str) -> None:
        flags = _flags(setting, name)
        kind = setting.kind.kind if isinstance(setting.kind, OrOff) else setting.kind
        if isinstance(kind, Flag):
            self.add_argument(*flags, dest=name, action=argparse.BooleanOptionalAction)
        elif isinstance(kind, Several):
            self.add_argument(*flags, dest=name, action="append")
        else:
            self.add_argument(*flags, dest=name)

    def format_help(self) -> str:
        return _help()

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"greenserve: {message}\nTry: greenserve --help\n")


def _with_dashes(argument: str) -> str:
    """Return an option with dashes for underscores: gunicorn's --limit-request-field_size has one, people mix them."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def _explain_unknown(arguments: list[str]) -> str:
    """Say what to do about arguments of which the first is no option."""
    flag = arguments[0].partition("=")[0]
    if not flag.startswith("-"):
        return f"one application is served, and {flag} is one more"
    name = _SHORT_OF_GUNICORN.get(flag[:2], flag.lstrip("-").removeprefix("no-").replace("-", "_"))
    if name in WITHOUT_EFFECT:
        return f"there is no option {flag}, leave it out: {WITHOUT_EFFECT[name]}"
    options = [
        option
        for setting in SETTINGS.values()
        for name in (setting.name, *setting.aliases)
        for option in _flags(setting, name)
    ]
    if flag in _PARTS_OF_BIND:
        return f"there is no option {flag}; did you mean --bind HOST:PORT?"
    return f"there is no option {flag}{suggestion(flag, options, cutoff=0.8)}"


def _flags(setting: Setting, name: str) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    return [setting.flag, flag] if setting.flag and name == setting.name else [flag]


def _command_line(options: dict[str, Any]) -> Source:
    spelling = {name: f"--{name.replace('_', '-')}" for name in options} | {_POSITIONAL: "MODULE:APP"}
    return Source("on the command line", options, spelling)


def _help() -> str:
    lines = [
        "Usage: greenserve [options] [MODULE:APP]",
        "       greenserve top [--once] [ADDRESS]",
        "",
        "Serves the WSGI application APP of MODULE, or without one a demo. With top, shows in the terminal",
        "what a server does that was started with --admin-bind ADDRESS.",
        "",
        *_entry("MODULE:APP", SETTINGS[_POSITIONAL].text),
        *_entry("-h, --help", "Show this, and exit."),
        *_entry("--version", "Show the version, and exit."),
        *_entry("--check-config", "Read the settings and load the application, and exit: 0 if both went well."),
        *_entry("--print-config", "Show the value of each setting and what set it, and exit."),
    ]
    for group in dict.fromkeys(setting.group for setting in SETTINGS.values()):
        lines += ["", f"{group}:"]
        for setting in SETTINGS.values():
            if setting.group == group and setting.name != _POSITIONAL:
                option = f"{', '.join(_flags(setting, setting.name))} {setting.kind.metavar}".rstrip()
                lines += _entry(option, _describe(setting))
    variables = [setting for setting in SETTINGS.values() if setting.variable]
    ending = (
        "Times: 500ms, 30s, 5m, 2h, or seconds. Bytes: 8190, 64K, 16MiB. A setting can also come from the environment, "
        "--keep-alive from GREENSERVE_KEEP_ALIVE; and "
        + " and ".join(f"{setting.variable} sets --{setting.name.replace('_', '-')}" for setting in variables)
        + ". The command line wins."
    )
    return "\n".join([*lines, "", *textwrap.wrap(ending, _WIDTH), ""])


def _describe(setting: Setting) -> str:
    also = f" Also {', '.join(flag for alias in setting.aliases for flag in _flags(setting, alias))}."
    default = "" if isinstance(setting.kind, Flag) else f" [{setting.kind.show(setting.command_default)}]"
    return setting.text + (also if setting.aliases else "") + default


def _entry(option: str, text: str) -> list[str]:
    indent = " " * _COLUMN
    wrapped = textwrap.wrap(
        text.replace("`", "'"), _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    head = f"  {option}"
    if len(head) > _COLUMN - 2:
        return [head, *wrapped]
    return [head + wrapped[0][len(head) :], *wrapped[1:]]
