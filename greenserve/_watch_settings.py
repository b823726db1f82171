"""The settings about what can be seen of a server: its logs, its figures, and the page that shows them."""

from __future__ import annotations

from greenserve._kinds import Flag, OrOff, Receiver, Several, Text, TextOrDictionary, parse_address
from greenserve._setting import Setting

__all__ = ["WATCH_SETTINGS"]

_LOGGING, _WATCHING = "Logging", "Watching"

_BIND = "HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER, several with commas between them"


def _parse_tag(text: str) -> str:
    """Raises ValueError."""
    if not text or any(character in text for character in "|#\n"):
        raise ValueError
    return text


WATCH_SETTINGS = (
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
        OrOff(Several("ADDRESS", _BIND, parse_address)),
        None,
        "Serve figures for Prometheus at this address, under /metrics, and whether the server is alive and ready, "
        "under /healthz and /readyz.",
        group=_WATCHING,
    ),
    Setting(
        "admin_bind",
        OrOff(Several("ADDRESS", _BIND, parse_address)),
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
        OrOff(Text("PREFIX"), "none"),
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
