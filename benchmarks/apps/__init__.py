"""The WSGI apps that the benchmarks serve, one a module.

``make(sleep)`` in each makes the app; ``load`` finds it by name.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["APPS", "Sleep", "load"]

Sleep = Callable[[float], object]

APPS = ("hello", "flask_hello", "routes")


def load(name: str, sleep: Sleep = time.sleep) -> WSGIApplication:
    """Make the app called ``name``; ``sleep`` is how code sleeps in the server that will run it.

    Raises:
        ValueError: No app has this name.
    """
    if name not in APPS:
        raise ValueError(f"no app is called {name!r}; there are {', '.join(APPS)}")
    # By name, because only the server that is to serve Flask should pay for importing it.
    app: WSGIApplication = importlib.import_module(f"benchmarks.apps.{name}").make(sleep)
    return app
