"""The settings about what can be seen of a server: its logs, its figures, and the page that shows them."""

from __future__ import annotations

from greenserve._kinds import Addresses, Choice, Flag, OrOff, Prefix, Receiver, Several, Text, TextOrDictionary
from greenserve._setting import Setting

__all__ = ["WATCH_SETTINGS"]

_LOGGING, _WATCHING = "Logging", "Watching"


def _parse_tag(text: str) -> str:
    """Raises ValueError."""
    if not text or any(character in text for character in "|#\n"):
        raise ValueError
    return text


WATCH_SETTINGS = (
    Setting(
        "error_logfile",
        Text("FILE", "a file, or - for stderr"),
        "-",
        "Where the log of errors and of starting and stopping goes; - is stderr.",
        group=_LOGGING,
        aliases=("errorlog", "log_file"),
    ),
    Setting(
        "log_level",
        Choice("LEVEL", "debug", "info", "warning", "error", "critical"),
        "info",
        "The lowest level that is logged: debug, info, warning, error or critical.",
        group=_LOGGING,
        aliases=("loglevel",),
    ),
    Setting(
        "access_logfile",
        OrOff(Text("FILE", "a file, or - for stdout")),
        None,
        "Where one line for each request goes; - is stdout.",
        group=_LOGGING,
        aliases=("accesslog",),
    ),
    Setting(
        "access_logformat",
        Text("FORMAT", "a %-format of atoms such as %(h)s, %(r)s and %({user-agent}i)s"),
        '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "What is in an access line: atoms as gunicorn has them. The default is the combined format.",
        group=_LOGGING,
        aliases=("access_log_format",),
    ),
    Setting(
        "access_log_json",
        Flag(),
        False,
        "Write access lines as JSON, one object in a line, with OpenTelemetry's names, whatever access_logformat says.",
        group=_LOGGING,
    ),
    Setting(
        "request_id",
        Flag(),
        False,
        "Give each request an id: its X-Request-ID, if that is one, or a new one. It is in environ, in the answer's "
        "X-Request-ID, in JSON lines, and in a format as %({x-request-id}i)s.",
        group=_LOGGING,
    ),
    Setting(
        "log_config",
        OrOff(TextOrDictionary("FILE", "a file for logging.config: .json, or else .ini"), "none"),
        None,
        "Set Python's logging up with this file: a dictionary in JSON, or a file as fileConfig takes it. Access lines "
        "go to the logger greenserve.access then, and what it says of ours wins over the settings here.",
        group=_LOGGING,
        aliases=("logconfig", "log_config_json", "logconfig_json", "logconfig_dict"),
    ),
    Setting(
        "metrics_bind",
        OrOff(Addresses()),
        None,
        "Serve figures for Prometheus at this address, under /metrics, and whether the server is alive and ready, "
        "under /healthz and /readyz.",
        group=_WATCHING,
    ),
    Setting(
        "admin_bind",
        OrOff(Addresses()),
        None,
        "Serve a page at this address that shows what the server does, live. `greenserve top` shows the same.",
        group=_WATCHING,
    ),
    Setting(
        "admin_public",
        Flag(),
        False,
        "Let admin_bind be an address that others can reach. Nobody is asked for a password, and the page shows the "
        "targets of requests and where in the code they are.",
        group=_WATCHING,
    ),
    Setting(
        "statsd_host",
        OrOff(Receiver()),
        None,
        "Send figures to the statsd at this address, in UDP or to a Unix socket: the names are gunicorn's.",
        group=_WATCHING,
    ),
    Setting(
        "statsd_prefix",
        OrOff(Prefix("PREFIX"), "none"),
        None,
        "What the names of those figures begin with. A dot is put behind it.",
        group=_WATCHING,
    ),
    Setting(
        "dogstatsd_tags",
        OrOff(Several("TAGS", "tags such as env:live, with commas between them", _parse_tag), "none"),
        None,
        "Tags for those figures, as DogStatsD takes them.",
        group=_WATCHING,
    ),
)
