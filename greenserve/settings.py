"""One declaration for each setting: name, kind, default, limits, unit, text.

Data alone. It knows neither where a value was given (that is ``config``) nor what becomes of it: the library
takes its defaults from here, the command its flags, its environment variables, its help and its reference page.

Names are gunicorn's where they mean the same; what gunicorn spells in another way stands under ``aliases``.
"""

from __future__ import annotations

from greenserve._debug_settings import DEBUG_SETTINGS
from greenserve._kinds import (
    Addresses,
    Choice,
    Count,
    Duration,
    Flag,
    Mode,
    Networks,
    Numbered,
    OrOff,
    Several,
    Size,
    Switched,
    Text,
)
from greenserve._process_settings import PROCESS_SETTINGS
from greenserve._setting import Setting
from greenserve._watch_settings import WATCH_SETTINGS

__all__ = ["ALIASES", "SETTINGS", "TLS", "Setting"]

_FORWARDED_FIELDS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded")

_APPLICATION, _LISTENING, _LIMITS = "Application", "Listening", "Limits"
_DEADLINES, _PROXIES = "Deadlines", "Behind a proxy"
TLS = "TLS"

SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting(
            "wsgi_app",
            OrOff(Text("MODULE:APP", "MODULE:APP, MODULE:create_app() or MODULE"), "none"),
            None,
            "The application: a module and the name of a WSGI callable in it, or a call that makes one. "
            "Without a name it is `application`, else `app`; without a module, the built-in demo.",
            group=_APPLICATION,
        ),
        Setting(
            "factory",
            Flag(),
            False,
            "APP is a function that makes the application: call it, without arguments. "
            "Its name is `create_app` unless another is given.",
            group=_APPLICATION,
        ),
        Setting(
            "patch",
            Flag(),
            True,
            "Make the standard library cooperative before APP is imported, so that an application that waits, for a "
            "database or another server, does not keep the others from running. --no-patch leaves it as it is.",
            group=_APPLICATION,
        ),
        Setting(
            "chdir",
            OrOff(Text("DIRECTORY", "a directory"), "none"),
            None,
            "Go to this directory first. It, or else the current one, comes first on sys.path.",
            group=_APPLICATION,
        ),
        Setting(
            "pythonpath",
            OrOff(Several("DIRECTORIES", "directories with commas between them", str), "none"),
            None,
            "More directories for sys.path, after the first one.",
            group=_APPLICATION,
        ),
        Setting(
            "bind",
            Addresses(),
            "127.0.0.1:8000",
            "Where to listen: HOST:PORT, unix:PATH, or fd://NUMBER for a socket that was inherited. May be given "
            "several times. Port 0 is a free one, which is then printed.",
            group=_LISTENING,
            flag="-b",
            variable="PORT",
            variable_format="0.0.0.0:{}",
        ),
        Setting(
            "backlog",
            Count(1, 65535),
            2048,
            "How many connections the kernel holds that were not accepted yet.",
            group=_LISTENING,
            keyword_of="listen",
        ),
        Setting(
            "reuse_port",
            Flag(),
            False,
            "Let several servers listen on one TCP port (SO_REUSEPORT). Off, so that a busy port is noticed.",
            group=_LISTENING,
            keyword_of="listen",
        ),
        Setting(
            "unix_socket_mode",
            OrOff(Mode(), "umask"),
            None,
            "Permissions of the Unix sockets that are made, in octal; or what the umask leaves.",
            group=_LISTENING,
        ),
        Setting(
            "max_size",
            Count(1),
            10_000,
            "Connections open at once; for more, those close that have been idle for longest, or they wait in the "
            "backlog. Never above the limit of open files less 100, or half of it below 200.",
            group=_LIMITS,
            aliases=("worker_connections",),
            keyword_of="server",
        ),
        Setting(
            "limit_request_line",
            Size(1),
            8190,
            "The longest request line, in bytes; a longer one is answered with 414.",
            group=_LIMITS,
            keyword_of="server",
        ),
        Setting(
            "limit_request_fields",
            Count(1),
            100,
            "The most header fields in a request; more are answered with 431.",
            group=_LIMITS,
            keyword_of="server",
        ),
        Setting(
            "limit_request_field_size",
            Size(64),
            8190,
            "The longest header field, in bytes; a longer one is answered with 431.",
            group=_LIMITS,
            keyword_of="server",
        ),
        Setting(
            "limit_request_head",
            Size(256),
            65536,
            "The longest head (request line and all fields), in bytes; a longer one is answered with 431.",
            group=_LIMITS,
            keyword_of="server",
        ),
        Setting(
            "limit_request_body",
            OrOff(Size()),
            None,
            "The longest request body, in bytes; a longer one is answered with 413.",
            group=_LIMITS,
            keyword_of="server",
        ),
        Setting(
            "tls_handshake_timeout",
            Duration(),
            10.0,
            "A TLS handshake must be done within this time after the connection was accepted.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "head_timeout",
            Duration(),
            30.0,
            "A request's whole head must arrive within this time after its first byte.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "body_timeout",
            Duration(),
            30.0,
            "How long a request's body may pause before the connection is given up.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "write_timeout",
            Duration(),
            60.0,
            "How long a client may take no byte of the response before the connection is given up.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "keep_alive",
            Duration(),
            75.0,
            "How long a connection may stay idle between two requests. 0 closes after each response.",
            group=_DEADLINES,
            aliases=("keepalive",),
            keyword_of="server",
        ),
        Setting(
            "request_timeout",
            OrOff(Duration()),
            None,
            "How long the application may take for one request, from its head to the end of the answer. Then it is "
            "interrupted where it waits, and 503 is the answer, if none has begun.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "graceful_timeout",
            Duration(),
            30.0,
            "How long a graceful stop waits for the requests that are running.",
            group=_DEADLINES,
            keyword_of="server",
        ),
        Setting(
            "certfile",
            OrOff(Text("FILE", "a file"), "none"),
            None,
            "Speak TLS, with the certificate in this file and those behind it that vouch for it, in PEM.",
            group=TLS,
            keyword_of="server",
        ),
        Setting(
            "keyfile",
            OrOff(Text("FILE", "a file"), "none"),
            None,
            "The certificate's key, in PEM, if it is not in the same file.",
            group=TLS,
            keyword_of="server",
        ),
        Setting(
            "ca_certs",
            OrOff(Text("FILE", "a file"), "none"),
            None,
            "The certificates, in PEM, that must vouch for those of clients.",
            group=TLS,
            keyword_of="server",
        ),
        Setting(
            "cert_reqs",
            Numbered("WHETHER", "none", "optional", "required"),
            "none",
            "Whether clients are asked for a certificate, and turned away without one: none, optional or required.",
            group=TLS,
            keyword_of="server",
        ),
        Setting(
            "ciphers",
            OrOff(Text("CIPHERS", "a list as `openssl ciphers` takes it"), "default"),
            None,
            "The cipher suites of TLS 1.2. Those of TLS 1.3 are all good, and OpenSSL's own.",
            group=TLS,
            keyword_of="server",
        ),
        Setting(
            "forwarded_allow_ips",
            Networks(),
            "",
            "Proxies whose word counts: what they say in forwarded_fields, of client and scheme, is believed. "
            "From anybody else, Forwarded and X-Forwarded-* fields are dropped.",
            group=_PROXIES,
            command_default="127.0.0.1,::1",
            keyword_of="server",
            variable="FORWARDED_ALLOW_IPS",
        ),
        Setting(
            "forwarded_fields",
            OrOff(
                Several(
                    "FIELDS",
                    f"{', '.join(_FORWARDED_FIELDS[:-1])} and {_FORWARDED_FIELDS[-1]}, with commas between them",
                    Choice("FIELD", *_FORWARDED_FIELDS).parse,
                ),
                "none",
            ),
            "x-forwarded-for,x-forwarded-proto",
            "The fields of those proxies that are believed. Name no others than all of them set: what a proxy passes "
            "on as it came, the client chooses.",
            group=_PROXIES,
            keyword_of="server",
        ),
        Setting(
            "proxy_protocol",
            Switched("VERSION", "off", "v1", "v2", "auto"),
            "off",
            "Connections of the peers in proxy_allow_from begin with a header of the PROXY protocol, of this version "
            "(auto: either), which says who the client is. Without one they are closed.",
            group=_PROXIES,
            keyword_of="server",
        ),
        Setting(
            "proxy_allow_from",
            Networks(),
            "127.0.0.1,::1",
            "The proxies that speak the PROXY protocol. Everybody else's connections begin as usual.",
            group=_PROXIES,
            aliases=("proxy_allow_ips",),
            keyword_of="server",
        ),
        *WATCH_SETTINGS,
        *PROCESS_SETTINGS,
        *DEBUG_SETTINGS,
    )
}

# Every other name that a setting goes by, to the one it is declared under.
ALIASES: dict[str, str] = {alias: setting.name for setting in SETTINGS.values() for alias in setting.aliases}
