"""``eventlet.green``: modules of the standard library, cooperative, whether or not the process is patched.

Most are nothing but a copy: `COPIES` says of what. Those that have names of their own have a file here.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from greenserve.compat.eventlet._face import patcher

__all__ = ["COPIES", "PACKAGES", "load", "make"]

# Names below eventlet.green: the module that is imported anew, and the stand-ins that it is imported with, by their own
# names below eventlet.green, beside those of the standard library's foundations.
COPIES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "BaseHTTPServer": ("http.server", (("socketserver", "SocketServer"),)),
    "CGIHTTPServer": ("http.server", (("socketserver", "SocketServer"),)),
    "SimpleHTTPServer": ("http.server", (("socketserver", "SocketServer"),)),
    "SocketServer": ("socketserver", ()),
    "ftplib": ("ftplib", ()),
    "httplib": ("http.client", ()),
    "http": ("http", ()),
    "http.client": ("http.client", ()),
    "http.cookiejar": ("http.cookiejar", (("http.client", "http.client"),)),
    "http.cookies": ("http.cookies", ()),
    "http.server": ("http.server", (("socketserver", "SocketServer"), ("http.client", "http.client"))),
    "urllib": ("urllib", ()),
    "urllib.error": ("urllib.error", ()),
    "urllib.parse": ("urllib.parse", ()),
    "urllib.response": ("urllib.response", ()),
    "urllib.request": ("urllib.request", (("http.client", "http.client"), ("ftplib", "ftplib"))),
    "urllib2": ("urllib.request", (("http.client", "http.client"), ("ftplib", "ftplib"))),
}
if sys.version_info < (3, 12):
    COPIES["asyncore"] = ("asyncore", ())
    COPIES["asynchat"] = ("asynchat", (("asyncore", "asyncore"),))

PACKAGES = frozenset({"eventlet.green.http", "eventlet.green.urllib"})

# Those that wait for nothing are the module itself: its exceptions are those that the others raise.
_PURE = frozenset({"http.cookies", "urllib.error", "urllib.parse", "urllib.response"})

_FOUNDATIONS = ("os", "select", "socket", "thread", "time")


def make(name: str) -> ModuleType:
    """Return a new module ``eventlet.green.<name>``: one of `COPIES`."""
    source, more = COPIES[name]
    full = f"eventlet.green.{name}"
    module = ModuleType(full)
    if full in PACKAGES:
        module.__path__ = []
    if full in PACKAGES or name in _PURE:
        original = importlib.import_module(source)
    else:
        places = patcher.stand_ins(_FOUNDATIONS) + [(place, load(ours)) for place, ours in more]
        original = _import_anew(source, places)
    for key, value in vars(original).items():
        if not (key.startswith("__") and key != "__all__") and not (full in PACKAGES and isinstance(value, ModuleType)):
            setattr(module, key, value)
    module.__doc__ = f"{source}, cooperative."
    module.__file__ = getattr(original, "__file__", None)
    module.__patched__ = []  # type: ignore[attr-defined]  # eventlet's mark of a green module
    return module


def _import_anew(source: str, places: list[tuple[str, ModuleType]]) -> ModuleType:
    with patcher._standing_in(places, source):
        return importlib.import_module(source)


def load(name: str) -> ModuleType:
    """Return the module that is ``eventlet.green.<name>``, whether or not eventlet's names are installed."""
    if name not in COPIES:
        return importlib.import_module(f"{__name__}.{name}")
    made = _made.get(name)
    if made is None:
        made = _made[name] = make(name)
    return made


_made: dict[str, ModuleType] = {}
