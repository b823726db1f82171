"""What Python runs at its start where this directory is in PYTHONPATH: installs, then runs who was there before."""

from __future__ import annotations

import importlib
import os
import sys

from greenserve.compat import eventlet

if os.environ.get(eventlet.INHERIT):
    eventlet.install()

# Another sitecustomize further down the path has its turn as well.
_here = os.path.dirname(os.path.abspath(__file__))
_path = sys.path[:]
_this = sys.modules.pop(__name__, None)
try:
    sys.path[:] = [each for each in _path if os.path.abspath(each) != _here]
    try:
        importlib.import_module("sitecustomize")  # by now the name means the other one
    except ModuleNotFoundError as exc:
        if exc.name != "sitecustomize":
            raise
finally:
    sys.path[:] = _path
    if _this is not None:
        sys.modules.setdefault(__name__, _this)
