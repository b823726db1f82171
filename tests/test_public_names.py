"""The public names, pinned: whoever adds, renames or removes one says so here.

Public is what stands in an ``__all__`` of a module with no underscore on its path.
``python -m tests.test_public_names`` writes the present names into this file.
"""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from tests.layers import read_sources

# Module: its public names, separated by spaces.
PUBLIC: dict[str, str] = {
    "greenserve": (
        "BoundedSemaphore CappedSemaphore Condition DeadlockError Event GreenPile GreenPool GreenSocket GreenThread "
        "GreenletExit GreenserveError LifoQueue LightQueue Lock PriorityQueue Queue RLock Semaphore StopServe Timeout "
        "__version__ aio connect debug execute get_hub getcurrent green is_timeout kill listen local monkey serve "
        "sleep spawn spawn_after spawn_n use_hub websocket with_timeout wrap_ssl wsgi"
    ),
    "greenserve.admin": "Watch check_admin",
    "greenserve.admin.app": "AdminApp",
    "greenserve.admin.history": "History POINTS",
    "greenserve.admin.top": "TopError fetch render run",
    "greenserve.admin.watch": "Watch check_admin",
    "greenserve.aio": "EventLoop await_ spawn_for_awaitable to_green",
    "greenserve.apps": "AppError load_app",
    "greenserve.binds": "BindError Listener open_listeners",
    "greenserve.cli": "main",
    "greenserve.compat": "",
    "greenserve.compat.eventlet": "INHERIT InstalledTooLate install is_installed",
    "greenserve.compat.migrate": "Unreadable Use find_uses main read_tree",
    "greenserve.compat.table": "GONE KEYWORDS NAMES NOTES Note Verdict find_note",
    "greenserve.config": "Config Source load misspelt_variables read_environment",
    "greenserve.configfile": "ConfigFile ConfigFileError DEFAULT_FILE WITHOUT_EFFECT read_config_file",
    "greenserve.contrib": "",
    "greenserve.contrib.celery": "",
    "greenserve.contrib.django": "",
    "greenserve.contrib.django.apps": "GreenserveConfig",
    "greenserve.contrib.django.management": "",
    "greenserve.contrib.django.management.commands": "",
    "greenserve.contrib.django.management.commands.greenserve": "Command",
    "greenserve.contrib.flask": "command",
    "greenserve.contrib.flask_socketio": "SocketIO",
    "greenserve.contrib.gunicorn": "Worker",
    "greenserve.contrib.socketio": "Event LocalManager MODE Server Thread WebSocketTransport register",
    "greenserve.core": (
        "GreenThread GreenletExit Hub Timeout get_hub getcurrent is_timeout kill local sleep spawn spawn_after "
        "spawn_n use_hub with_timeout"
    ),
    "greenserve.core.greenthreads": "GreenThread GreenletExit getcurrent kill sleep spawn spawn_after spawn_n",
    "greenserve.core.hub": "Hub all_hubs bystanders get_hub has_hub in_main_thread thread_state use_hub",
    "greenserve.core.locals": "local",
    "greenserve.core.poller": "BACKENDS Backend Poller READ Source WRITE make_backend",
    "greenserve.core.report": "all_greenlets describe_parked describe_place is_core parked_greenlets",
    "greenserve.core.switches": "OwnSwitch",
    "greenserve.core.timeouts": "Timeout is_timeout with_timeout",
    "greenserve.core.timers": "Handle Timer Timers",
    "greenserve.core.waiters": "NativeWaiter WaitQueue Waiter new_waiter sleep wait_readable wait_writable",
    "greenserve.db_pool": (
        "BaseConnectionPool ConnectTimeout ConnectionPool DatabaseConnector PooledConnectionWrapper RawConnectionPool "
        "TpooledConnectionPool cleanup_rollback"
    ),
    "greenserve.debug": (
        "Branch OSThread State Watchdog backdoor backdoor_server dump dump_on format_hub_listeners format_hub_timers "
        "hub_blocking_detection hub_prevent_multiple_readers tree"
    ),
    "greenserve.debug.backdoors": "backdoor backdoor_server",
    "greenserve.debug.listeners": "format_hub_listeners format_hub_timers hub_prevent_multiple_readers",
    "greenserve.debug.stacks": "Place Stack StackReader format_stack",
    "greenserve.debug.trees": "Branch OSThread State dump dump_on tree",
    "greenserve.debug.watchdog": "Watchdog hub_blocking_detection",
    "greenserve.demo": "app",
    "greenserve.errors": (
        "BadRequest BodyError ClosedWhileWaiting ConnectTimeout ConnectionClosed ContentTooLarge DeadlockError "
        "EventError ExpectationFailed FieldsTooLarge GreenserveError HandshakeError HubError MissingExtra "
        "NotSupported RequestTimeout ResponseError SettingError TargetTooLong VersionNotSupported WebSocketError"
    ),
    "greenserve.extras": "load",
    "greenserve.green": "",
    "greenserve.green.io": "PipeIO fdopen open",
    "greenserve.green.multiprocessing": "SemLock",
    "greenserve.green.os": (
        "may_block read readv system wait wait3 wait4 wait_process wait_ready waitid waitpid write writev"
    ),
    "greenserve.green.queue": "Empty SimpleQueue",
    "greenserve.green.select": "epoll poll select",
    "greenserve.green.selectors": "DefaultSelector PollSelector SelectSelector",
    "greenserve.green.signal": (
        "adopt getsignal pause pthread_sigmask raise_signal set_wakeup_fd signal sigtimedwait sigwait sigwaitinfo"
    ),
    "greenserve.green.socket": (
        "create_connection fromfd getaddrinfo gethostbyaddr gethostbyname gethostbyname_ex getnameinfo socket "
        "socketpair"
    ),
    "greenserve.green.ssl": "SSLContext SSLSocket",
    "greenserve.green.subprocess": "io popen_wait",
    "greenserve.green.sys": "settrace",
    "greenserve.green.threading": (
        "DummyThread Lock RLock ThreadHandle forget_nothing get_ident get_main_thread_ident local make_thread_handle "
        "set_sentinel shutdown start_joinable_thread start_new_thread"
    ),
    "greenserve.green.time": "sleep",
    "greenserve.http": "",
    "greenserve.http.body": "Body ChunkedBody EMPTY_BODY LengthBody Source",
    "greenserve.http.date": "Dates date_line http_date now_date",
    "greenserve.http.framing": "BodyKind Framing frame_request tokens",
    "greenserve.http.head": (
        "Fields Limits MAX_EMPTY_LINES RequestLine check_partial find_head_end is_token parse_field_line parse_fields "
        "parse_request_line parse_whole_line skip_empty_lines small_head_lines split_head take_head"
    ),
    "greenserve.http.memo": "Memo Memory",
    "greenserve.http.names": "HOP_BY_HOP REPEATED_IN_REQUESTS REPEATED_IN_RESPONSES SERVER_VARIABLES",
    "greenserve.http.response": (
        "LAST_CHUNK ResponseFields ResponseHead body_allowed capitalize check_fields check_head chunk error_page "
        "is_hop_by_hop parse_status serialize_fields status_line"
    ),
    "greenserve.http.target": "Target is_authority parse_target percent_decode",
    "greenserve.logs": "BackgroundHandler LogError LogFile Logs configure_logs keep_logs_enabled",
    "greenserve.logs.terminal": "TerminalFormatter has_colours",
    "greenserve.logs.writer": "LogWriter MAX_QUEUED_BYTES duplicate open_for_appending",
    "greenserve.metrics": "Board Observer Slot State",
    "greenserve.metrics.app": "MetricsApp",
    "greenserve.metrics.backlog": "AcceptQueue BacklogWatch accept_queue",
    "greenserve.metrics.board": "Board COUNTERS Figures GAUGES Slot State",
    "greenserve.metrics.observer": "BlockReports Observer",
    "greenserve.metrics.prometheus": "CONTENT_TYPE render",
    "greenserve.metrics.statsd": "Statsd StatsdError",
    "greenserve.metrics.totals": "Totals percentile total_of",
    "greenserve.monkey": (
        "PatchWarning import_patched is_patched original patch_all patch_builtins patch_os patch_psycopg patch_select "
        "patch_signal patch_socket patch_ssl patch_subprocess patch_thread patch_time"
    ),
    "greenserve.net": (
        "GreenSocket Proxy StopServe cache_names connect connections_of create_connection execute fromfd killall "
        "listen serve set_num_threads socketpair"
    ),
    "greenserve.net.contexts": "client_context server_context set_version",
    "greenserve.net.listeners": "StopServe connect connections_of create_connection listen serve",
    "greenserve.net.parking": "BURST ParkingSocket",
    "greenserve.net.readers": "ReadableSocket SocketReader",
    "greenserve.net.resolver": (
        "cache_names getaddrinfo gethostbyaddr gethostbyname gethostbyname_ex getnameinfo is_numeric resolve_address"
    ),
    "greenserve.net.sockets": "GreenSocket fromfd socketpair",
    "greenserve.net.threads": "PoolUse Proxy execute killall pool_use set_num_threads",
    "greenserve.net.tls": "GreenSSLSocket wrap_ssl",
    "greenserve.settings": "ALIASES SETTINGS Setting TLS",
    "greenserve.supervisor": "BootError HOOKS Hooks Master Site needs_master serve_alone",
    "greenserve.supervisor.alone": "serve_alone",
    "greenserve.supervisor.balance": "SharedListener Shares",
    "greenserve.supervisor.changes": "Snapshot Watched first_change poll watch_files watched_files",
    "greenserve.supervisor.child": "APP_FAILED WorkerProcess",
    "greenserve.supervisor.deaths": "Deaths",
    "greenserve.supervisor.filters": "stick_by_address",
    "greenserve.supervisor.hooks": "HOOKS HookRequest HookResponse Hooks misspelt_hooks",
    "greenserve.supervisor.identity": "Owner PidFile PidFileError find_owner has_terminal set_title",
    "greenserve.supervisor.listeners": "ACTIVATED HANDED_ON Listeners activated_addresses take_handed_on",
    "greenserve.supervisor.master": "BootError Master",
    "greenserve.supervisor.memory": "count_oom_kills resident_bytes",
    "greenserve.supervisor.notify": "Notifier take_listen_fds",
    "greenserve.supervisor.pulse": "Beat Pulse",
    "greenserve.supervisor.site": "Site needs_master serve_to_the_end",
    "greenserve.supervisor.sticky": (
        "COOKIE Exchange Handover StickyProtocol check_settings decode encode owner_of rebuild_head"
    ),
    "greenserve.supervisor.surroundings": "DirectoryError Surroundings logical_directory",
    "greenserve.supervisor.upgrade": "Start",
    "greenserve.supervisor.workers": "State Worker describe_exit encode_message",
    "greenserve.sync": (
        "BoundedSemaphore CappedSemaphore Condition Empty Event Full GreenPile GreenPool LifoQueue LightQueue Lock "
        "Pool PriorityQueue Queue RLock Semaphore TokenPool"
    ),
    "greenserve.sync.dagpool": "Collision DAGPool PropagateError",
    "greenserve.sync.events": "Event",
    "greenserve.sync.locks": "Condition Lock RLock",
    "greenserve.sync.pools": "GreenPile GreenPool",
    "greenserve.sync.queues": "Empty Full LifoQueue LightQueue PriorityQueue Queue",
    "greenserve.sync.resources": "Pool Token TokenPool",
    "greenserve.sync.semaphores": "BoundedSemaphore CappedSemaphore Semaphore Slots check_timeout",
    "greenserve.testing": "assert_no_switch serve wait_until_parked",
    "greenserve.websocket": (
        "ConnectionClosed Deflate HandshakeError Options WebSocket WebSocketError WebSocketWSGI connect websocket"
    ),
    "greenserve.websocket.client": "connect",
    "greenserve.websocket.codec": "ClientHandshake Codec agreed_deflate client_codec negotiate server_codec",
    "greenserve.websocket.connection": "WebSocket",
    "greenserve.websocket.handshake": (
        "Origins Refusal accept_key accepted check_origin check_request check_subprotocols choose_subprotocol"
    ),
    "greenserve.websocket.heartbeat": "Watched unwatch watch",
    "greenserve.websocket.options": "Deflate Options",
    "greenserve.websocket.server": "WebSocketWSGI websocket",
    "greenserve.wsgi": "HttpProtocol RequestTimedOut Server server",
    "greenserve.wsgi.accesslog": "AccessLog COMBINED EVENTLET Logger Record TextFile escape",
    "greenserve.wsgi.connection": "BodySource ClientGone Connection Expired NEVER Phase",
    "greenserve.wsgi.environ": (
        "Environ FRAMING_VARIABLES add_unknown_length connection_environ put_fields put_request_line put_words "
        "request_environ server_environ"
    ),
    "greenserve.wsgi.failures": "REFUSED RequestTimedOut TAKEN_OVER answer_failure refuse",
    "greenserve.wsgi.files": "FileWrapper ReadableFile",
    "greenserve.wsgi.hijack": "HijackedSocket SocketOffer",
    "greenserve.wsgi.hooks": "DisconnectWatch HookedConnection Hooks has_left",
    "greenserve.wsgi.input": "Input RequestConnection",
    "greenserve.wsgi.keywords": (
        "access_log_of check_class check_environ check_flags check_listening check_methods handshaker_of is_1_0_only "
        "least_size listeners_of most_connections settings_of"
    ),
    "greenserve.wsgi.lasthead": "LastHead",
    "greenserve.wsgi.logformats": "format_for_terminal format_json",
    "greenserve.wsgi.memory": "keep_freed_memory",
    "greenserve.wsgi.meter": "BOUNDS Meter UNTIMED find_bucket",
    "greenserve.wsgi.progress": "bytes_not_taken",
    "greenserve.wsgi.protocol": "HttpProtocol Next",
    "greenserve.wsgi.proxies": "Origin Proxies Trust correct find_origin parse_forwarded",
    "greenserve.wsgi.proxyprotocol": "BadProxyHeader ProxyHeader parse_header read_header",
    "greenserve.wsgi.requestids": "REQUEST_ID give_request_ids",
    "greenserve.wsgi.response": "Response",
    "greenserve.wsgi.room": "Room",
    "greenserve.wsgi.run": "ExcInfo Run StartResponse WSGIApp as_bytes",
    "greenserve.wsgi.serve": "server",
    "greenserve.wsgi.server": "Server",
    "greenserve.wsgi.tls": "Handshaker",
}


def find_public() -> dict[str, list[str]]:
    """Return the names in each public module's ``__all__``, sorted, read from its source."""
    public = {}
    for source in read_sources():
        path = [] if source.module == "__init__" else source.module.split(".")
        if not any(part.startswith("_") for part in path):
            public[".".join(["greenserve", *path])] = sorted(read_all(source.text))
    return public


def read_all(text: str) -> list[str]:
    """Return the literal ``__all__`` of a module's source, or nothing where there is none."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return []


NOW = find_public()


def test_the_public_names_are_those_that_are_pinned() -> None:
    pinned = {module: names.split() for module, names in PUBLIC.items()}
    added = [f"{module}.{name}" for module in NOW for name in NOW[module] if name not in pinned.get(module, [])]
    gone = [f"{module}.{name}" for module in pinned for name in pinned[module] if name not in NOW.get(module, [])]
    assert (added, gone) == ([], []), "run python -m tests.test_public_names and look at the difference"


@pytest.mark.parametrize("module", NOW)
def test_a_public_module_says_what_is_public_in_it_and_has_it(module: str) -> None:
    names = NOW[module]
    loaded = importlib.import_module(module)
    # Without an __all__ there may be nothing else either: a package with a docstring.
    defined = [
        name for name in vars(loaded) if not (name.startswith("__") or isinstance(vars(loaded)[name], ModuleType))
    ]
    assert sorted(getattr(loaded, "__all__", set(defined) - {"annotations"})) == names
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(loaded, name)] == []
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('__all__ = ["b", "a"]\n', ["b", "a"]),
        ('import os\n__all__ = (\n    "a",\n)\n', ["a"]),
        ("a = 1\n", []),
    ],
)
def test_the_names_are_read_from_the_source(text: str, expected: list[str]) -> None:
    assert read_all(text) == expected


def write_present_names() -> None:
    lines = ["PUBLIC: dict[str, str] = {"]
    for module, names in NOW.items():
        wrapped = textwrap.wrap(" ".join(names), 108) or [""]
        if len(wrapped) == 1 and len(module) + len(wrapped[0]) < 108:
            lines.append(f'    "{module}": "{wrapped[0]}",')
        else:
            lines += [f'    "{module}": (', *(f'        "{line} "' for line in wrapped[:-1])]
            lines += [f'        "{wrapped[-1]}"', "    ),"]
    lines.append("}")
    path = Path(__file__)
    text = path.read_text()
    path.write_text(re.sub(r"^PUBLIC: dict.*?^\}$", "\n".join(lines), text, flags=re.MULTILINE | re.DOTALL))


if __name__ == "__main__":
    write_present_names()
    print(f"{sum(map(len, NOW.values()))} public names in {len(NOW)} modules")
