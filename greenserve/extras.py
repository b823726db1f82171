"""Optional dependencies. Each is imported at the top of one module that is wholly about it, and nowhere else.

`load` brings that module in when it is needed, and says what to install when that fails. There is no other late import.
OpenSSL counts as one: a Python can be built without it, and who speaks no TLS should not have to load it.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from greenserve.errors import MissingExtra

__all__ = ["load"]


def load(extra: str | None, module: str) -> ModuleType:
    """Return ``module``, one of ours, which needs what ``pip install greenserve[extra]`` brings.

    ``extra`` is None for what comes with most Pythons.

    Raises:
        MissingExtra: That is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        # A module of our own that is missing is our fault, and no extra helps.
        if exc.name is None or exc.name.partition(".")[0] == __name__.partition(".")[0]:
            raise
        if extra is None:
            message = f"{module} needs {exc.name}, which this Python was built without"
        else:
            message = f"{module} needs {exc.name}, which is not installed; try: pip install 'greenserve[{extra}]'"
        raise MissingExtra(message, name=exc.name) from exc
