"""What becomes of each name of eventlet's, and of gevent's: the one table of it. Data alone.

`greenserve.compat.migrate` reports from it, the reference page of names is made of it, and what it calls gone the
import system refuses under eventlet's names, with the reason.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ["GONE", "KEYWORDS", "NAMES", "NOTES", "Note", "Verdict", "find_note"]


class Verdict(enum.Enum):
    """What a use of a name means for whoever moves."""

    AS_IS = "runs as it is"
    DIFFERENCE = "runs with a difference"
    CHANGE = "needs a change"


class Note(NamedTuple):
    """A verdict, and what the difference or the change is."""

    verdict: Verdict
    text: str


# Every module and its public names, as they are in eventlet 0.41 and gevent 26.9.
NAMES: dict[str, tuple[str, ...]] = {
    module: tuple(names.split())
    for module, names in {
        "eventlet": """BoundedSemaphore CappedSemaphore Event EventletDeprecationWarning GreenPile GreenPool Queue
            Semaphore StopServe Timeout TimeoutError __version__ call_after_global connect exc_after getcurrent
            import_patched is_timeout kill listen monkey_patch serve sleep spawn spawn_after spawn_n with_timeout
            wrap_is_timeout wrap_ssl""",
        "eventlet.asyncio": "spawn_for_awaitable",
        "eventlet.backdoor": "FileProxy SocketConsole backdoor backdoor_server",
        "eventlet.convenience": """ReusePortUnavailableWarning ReuseRandomPortWarning StopServe connect listen serve
            wrap_ssl""",
        "eventlet.corolocal": "get_ident local",
        "eventlet.dagpool": "Collision DAGPool PropagateError",
        "eventlet.db_pool": """BaseConnectionPool ConnectTimeout ConnectionPool DatabaseConnector
            GenericConnectionWrapper PooledConnectionWrapper RawConnectionPool TpooledConnectionPool
            cleanup_rollback""",
        "eventlet.debug": """Spew format_asyncio_info format_hub_listeners format_hub_timers format_threads_info
            hub_blocking_detection hub_exceptions hub_listener_stacks hub_prevent_multiple_readers hub_timer_stacks
            spew tpool_exceptions unspew""",
        "eventlet.event": "Event NOT_USED",
        "eventlet.green": "",
        "eventlet.greenio": """CONNECT_ERR CONNECT_SUCCESS GreenPipe GreenSocket SOCKET_BLOCKING SOCKET_CLOSED SSL
            set_nonblocking shutdown_safe socket_timeout""",
        "eventlet.greenio.base": "GreenSocket set_nonblocking shutdown_safe",
        "eventlet.greenio.py3": "GreenFileIO GreenPipe",
        "eventlet.greenpool": "GreenMap GreenPile GreenPool",
        "eventlet.greenthread": """GreenThread TimeoutError call_after call_after_global call_after_local cancel
            exc_after getcurrent kill sleep spawn spawn_after spawn_after_local spawn_n with_timeout""",
        "eventlet.hubs": """HubError IOClosed get_default_hub get_hub notify_close notify_opened trampoline use_hub""",
        "eventlet.hubs.hub": "BaseHub DebugListener FdListener READ WRITE",
        "eventlet.hubs.timer": "LocalTimer Timer",
        **{f"eventlet.hubs.{hub}": "Hub is_available" for hub in ("asyncio", "epolls", "kqueue", "poll", "selects")},
        "eventlet.lock": "Lock",
        "eventlet.patcher": """already_patched import_patched inject is_monkey_patched monkey_patch original
            patch_function slurp_properties""",
        "eventlet.pools": "Pool TokenPool",
        "eventlet.queue": "Empty Full LifoQueue LightQueue PriorityQueue Queue",
        "eventlet.semaphore": "BoundedSemaphore CappedSemaphore Semaphore",
        "eventlet.support": "bytes_to_str get_errno greenlets wrap_deprecated",
        "eventlet.support.greendns": """HostsResolver ResolverProxy getaddrinfo gethostbyname gethostbyname_ex
            getnameinfo is_ip_addr is_ipv4_addr is_ipv6_addr reset resolve resolver""",
        "eventlet.support.psycopg2_patcher": "make_psycopg_green",
        "eventlet.timeout": "Timeout is_timeout with_timeout wrap_is_timeout",
        "eventlet.support.greenlets": "GreenletExit getcurrent greenlet",
        "eventlet.tpool": "Proxy execute killall proxy_call set_num_threads setup",
        "eventlet.websocket": """BadRequest ConnectionClosedError DEFAULT_MAX_FRAME_LENGTH FailedConnectionError
            ProtocolError RFC6455WebSocket VALID_CLOSE_STATUS WebSocket WebSocketWSGI""",
        "eventlet.wsgi": """BAD_SOCK BROKEN_SOCK BaseHTTPServer ChunkReadError HttpProtocol Input LoggerFileWrapper
            LoggerNull MAX_HEADER_LINE MAX_REQUEST_LINE MAX_TOTAL_HEADER_SIZE MINIMUM_CHUNK_SIZE STATE_CLOSE STATE_IDLE
            STATE_REQUEST Server WSGI_LOCAL format_date_time get_logger is_accepting server""",
        "gevent": """Greenlet GreenletExit Timeout config fork get_hub getcurrent getswitchinterval idle iwait joinall
            kill killall reinit setswitchinterval signal_handler sleep spawn spawn_later spawn_raw wait with_timeout""",
        "gevent.backdoor": "BackdoorServer",
        "gevent.event": "AsyncResult Event",
        "gevent.fileobject": "FileObject FileObjectBlock FileObjectPosix FileObjectThread",
        "gevent.local": "local",
        "gevent.lock": "BoundedSemaphore DummySemaphore RLock Semaphore",
        "gevent.monkey": """MonkeyPatchWarning get_original is_module_patched is_object_patched patch_all patch_builtins
            patch_dns patch_module patch_os patch_queue patch_select patch_signal patch_socket patch_ssl
            patch_subprocess patch_sys patch_thread patch_time""",
        "gevent.pool": "Group Pool PoolFull",
        "gevent.pywsgi": "LoggingLogAdapter WSGIHandler WSGIServer",
        "gevent.queue": "Channel Empty Full JoinableQueue LifoQueue PriorityQueue Queue SimpleQueue",
        "gevent.server": "DatagramServer StreamServer",
        "gevent.socket": "cancel_wait wait_read wait_readwrite wait_write",
        "gevent.threadpool": "ThreadPool ThreadPoolExecutor",
        "gevent.timeout": "Timeout with_timeout",
        "gevent.util": "GreenletTree assert_switches format_run_info print_run_info",
    }.items()
}

# The modules below eventlet.green, which are the standard library's, cooperative.
_GREEN = """BaseHTTPServer CGIHTTPServer MySQLdb Queue SimpleHTTPServer SocketServer asynchat asyncore builtin ftplib
    http http.client http.cookiejar http.cookies http.server httplib os profile select selectors socket ssl subprocess
    thread threading time urllib urllib.error urllib.parse urllib.request urllib.response urllib2 zmq"""
NAMES.update({f"eventlet.green.{name}": () for name in _GREEN.split()})


def _notes(verdict: Verdict, texts: dict[str, str]) -> dict[str, Note]:
    return {name: Note(verdict, text) for name, text in texts.items()}


_DIFFERENT = {
    "eventlet.monkey_patch": "locks that exist already are not hunted for through the garbage collector, since one "
    "that C code holds must not be replaced: a warning names them; nothing is deleted from select, since "
    "libraries that look for poll and epoll would break: these wait in the hub; signal handlers may block; in a forked "
    "child only the green thread that forked lives on",
    "eventlet.patcher.monkey_patch": "as eventlet.monkey_patch",
    "eventlet.patcher.inject": "the module is restored in its package afterwards",
    "eventlet.listen": "a socket of a patched program, socket.socket, has no .fd; those of eventlet's own names have",
    "eventlet.hubs.use_hub": "there is one hub; the name says which of the system's calls it waits by",
    "eventlet.hubs.get_hub": "abort() drops the timers and goes back to the main greenlet; the hub itself lives on",
    "eventlet.hubs.hub.BaseHub": "a subclass's wait() is not asked: it waits in greenserve's hub",
    "eventlet.greenio.GreenSocket": "several green threads may write to one socket, served in turn; in blocking "
    "mode send() sends everything; closing it wakes whoever waits; it is a socket.socket",
    "eventlet.greenio.GreenPipe": "the standard library's kind of file, over any pipe",
    "eventlet.backdoor.backdoor_server": "consoles share nothing unless locals are given",
    "eventlet.debug.hub_prevent_multiple_readers": "holds for eventlet's own sockets and hubs.trampoline; a patched "
    "program's sockets allow several",
    "eventlet.db_pool.RawConnectionPool": "connect() takes no arguments",
    "eventlet.db_pool.TpooledConnectionPool": "connect() takes no arguments",
    "eventlet.tpool.execute": "native threads leave after ten seconds without work",
    "eventlet.support.greendns": "the system's resolver is asked, in native threads: /etc/hosts and mDNS count",
    "eventlet.websocket.WebSocketWSGI": "a request for none is answered as RFC 6455 says; memory of compression is "
    "bounded; close() waits a second for the peer",
    "eventlet.websocket.RFC6455WebSocket": "it is what a handler gets; a client is greenserve.websocket.connect",
    "eventlet.websocket.WebSocket": "as RFC6455WebSocket",
    "eventlet.wsgi.server": "limits and deadlines are on; Host is required in HTTP/1.1; a traceback goes to the client "
    "only if debug=True is asked for; is stopped gracefully by Ctrl-C, kill() and SystemExit",
    "eventlet.wsgi.Server": "as eventlet.wsgi.server",
    "eventlet.wsgi.HttpProtocol": "making one does not serve it, its handle() does; the head is not read by "
    "http.server, so that overriding parse_request() has no effect",
    "eventlet.wsgi.ChunkReadError": "an OSError that carries the status 400, not a ValueError",
    "eventlet.green.select": "nothing is deleted: poll and epoll are there, and wait in the hub",
    "eventlet.green.selectors": "nothing is deleted: every selector is there, and waits in the hub",
    "eventlet.green.zmq": "it needs pyzmq: pip install greenserve[zmq]",
    "eventlet.green.MySQLdb": "calls are made in native threads; it needs mysqlclient: pip install greenserve[mysql]",
    "eventlet.green.threading": "every green and native thread has a current_thread() of its own",
    "eventlet.asyncio.spawn_for_awaitable": "any hub will do; a future that it is given was made in a coroutine",
}

_CHANGE = {
    "eventlet.zipkin": "tracing by Zipkin's old protocol: use OpenTelemetry",
    "eventlet.coros": "it holds nothing but the old metaphore: use eventlet.event and eventlet.semaphore",
    "eventlet.hubs.pyevent": "libevent's hub: eventlet itself has dropped it",
    "eventlet.support.stacklesss": "Stackless Python is no more",
    "eventlet.support.stacklesspypys": "Stackless Python is no more",
    "eventlet.support.pylib": "Stackless Python is no more",
    "eventlet.green.OpenSSL": "pyOpenSSL is not wrapped: use ssl, or eventlet.green.ssl",
    "eventlet.backdoor.FileProxy": "an inside: use backdoor_server",
    "eventlet.backdoor.SocketConsole": "an inside: use backdoor_server",
    "eventlet.support.greendns.resolver": "the resolver is the system's: there are no insides to turn",
    "eventlet.support.greendns.resolve": "use socket.getaddrinfo, or dnspython in a patched program",
    "eventlet.support.greendns.reset": "the resolver is the system's: there are no insides to turn",
    "eventlet.support.greendns.ResolverProxy": "the resolver is the system's: there are no insides to turn",
    "eventlet.support.greendns.HostsResolver": "the system's resolver reads /etc/hosts by itself",
    "eventlet.wsgi.HttpProtocol.reject_bad_requests": "what two servers could read in two ways is always refused",
    "gevent": "use greenserve",
    "gevent.Greenlet": "use greenserve.spawn(): it returns a GreenThread with wait(), kill() and link()",
    "gevent.GreenletExit": "use greenserve.GreenletExit",
    "gevent.Timeout": "use greenserve.Timeout(seconds, exception)",
    "gevent.fork": "use os.fork: only the green thread that forked lives on in the child",
    "gevent.get_hub": "use greenserve.get_hub()",
    "gevent.getcurrent": "use greenserve.getcurrent()",
    "gevent.idle": "use greenserve.sleep(0)",
    "gevent.iwait": "use a greenserve.GreenPile, which gives results in the order of their spawning",
    "gevent.joinall": "call wait() of each, or use GreenPool.waitall()",
    "gevent.kill": "use greenserve.kill()",
    "gevent.killall": "use greenserve.kill() for each",
    "gevent.reinit": "nothing: the hub is renewed after a fork",
    "gevent.signal_handler": "use signal.signal in a patched program: its handlers may block",
    "gevent.sleep": "use greenserve.sleep()",
    "gevent.spawn": "use greenserve.spawn(): the result by wait() in place of get() and join()",
    "gevent.spawn_later": "use greenserve.spawn_after()",
    "gevent.spawn_raw": "use greenserve.spawn_n()",
    "gevent.wait": "call wait() of each green thread or event",
    "gevent.with_timeout": "use greenserve.with_timeout()",
    "gevent.backdoor.BackdoorServer": "use greenserve.debug.backdoor_server()",
    "gevent.event.AsyncResult": "use greenserve.Event: send() for set(), send_exception(), wait() for get()",
    "gevent.event.Event": "use threading.Event in a patched program; greenserve.Event is sent once",
    "gevent.fileobject": "use open() or os.fdopen() in a program patched with builtins=True",
    "gevent.local.local": "use greenserve.local",
    "gevent.lock": "use greenserve's Semaphore, BoundedSemaphore and RLock",
    "gevent.monkey.patch_all": "use greenserve.monkey.patch_all()",
    "gevent.monkey.get_original": "use greenserve.monkey.original(module)",
    "gevent.monkey.is_module_patched": "use greenserve.monkey.is_patched()",
    "gevent.monkey": "use greenserve.monkey, which has patch_os() and its like",
    "gevent.pool.Group": "use a greenserve.GreenPool without a small size, and waitall()",
    "gevent.pool.Pool": "use greenserve.GreenPool: waitall() for join(), imap() for imap()",
    "gevent.pywsgi.WSGIServer": "use greenserve.wsgi.server(greenserve.listen(address), app), or the command",
    "gevent.pywsgi.WSGIHandler": "use greenserve.wsgi.HttpProtocol, and a middleware for what concerns requests",
    "gevent.queue": "use greenserve's Queue, LifoQueue and PriorityQueue; Queue has join(); Queue(0) is a channel",
    "gevent.server.StreamServer": "use greenserve.serve(greenserve.listen(address), handle)",
    "gevent.server.DatagramServer": "read from a greenserve.GreenSocket of SOCK_DGRAM in a green thread",
    "gevent.socket": "use socket in a patched program, or greenserve.green.socket",
    "gevent.socket.wait_read": "use GreenSocket.wait_readable()",
    "gevent.socket.wait_write": "use GreenSocket.wait_writable()",
    "gevent.threadpool": "use greenserve.execute(function, ...)",
    "gevent.timeout": "use greenserve.Timeout and greenserve.with_timeout",
    "gevent.util": "use greenserve.debug",
}

NOTES: dict[str, Note] = {
    **_notes(Verdict.DIFFERENCE, _DIFFERENT),
    **_notes(Verdict.CHANGE, _CHANGE),
}

# Keywords of calls that need a change when they have this value.
KEYWORDS: dict[tuple[str, str, object], Note] = {
    ("eventlet.websocket.WebSocketWSGI.configured", "support_legacy_versions", True): Note(
        Verdict.CHANGE, "the drafts 75 and 76 of the WebSocket protocol are not spoken: every browser has 13"
    ),
    ("eventlet.hubs.use_hub", "mod", "pyevent"): Note(Verdict.CHANGE, "libevent's hub is gone: leave the call out"),
}

# Modules that have no counterpart, with the reason.
GONE: dict[str, str] = {
    name: _CHANGE[name]
    for name in (
        "eventlet.coros",
        "eventlet.green.OpenSSL",
        "eventlet.hubs.pyevent",
        "eventlet.support.pylib",
        "eventlet.support.stacklesspypys",
        "eventlet.support.stacklesss",
        "eventlet.zipkin",
    )
}

_AS_IS = Note(Verdict.AS_IS, "")
_UNKNOWN = Note(Verdict.CHANGE, "eventlet 0.41 has no such public name, and greenserve has none")


def find_note(name: str) -> Note:
    """Return what becomes of ``name``, dotted from its package on.

    What belongs to a class is as the class is, unless it is named itself; what is below a module that is noted, as the
    module is.
    """
    if name in NOTES:
        return NOTES[name]
    module, _, last = name.rpartition(".")
    if name in NAMES or name.startswith("eventlet.green."):
        return _note_above(name)
    if last in NAMES.get(module, ()):
        return _note_above(module) if name.startswith("gevent") else _AS_IS
    holder, _, owner = module.rpartition(".")
    if owner in NAMES.get(holder, ()):
        return find_note(module)
    above = _note_above(name)
    return above if above.verdict is not Verdict.AS_IS else _UNKNOWN


def _note_above(name: str) -> Note:
    while name:
        if name in NOTES:
            return NOTES[name]
        name = name.rpartition(".")[0]
    return _AS_IS
