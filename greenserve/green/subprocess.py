"""What differs in the module ``subprocess``: the pipes of a ``Popen``, and waiting for its end with a timeout.

Everything else there waits by ``os``, ``select``, ``threading`` and ``time``, and becomes cooperative with those. The
class itself stays, and so do its exceptions.
"""

from __future__ import annotations

import errno
import io as _io
import subprocess
from types import ModuleType
from typing import Any

from greenserve.green.io import open as _open
from greenserve.green.os import wait_process

__all__ = ["io", "popen_wait"]

# What the module ``subprocess`` knows as ``io``: it opens its ends of the pipes by that.
io = ModuleType("io")
vars(io).update(vars(_io), open=_open)

_wait: Any = subprocess.Popen._wait  # type: ignore[attr-defined]  # for want of a public name


def popen_wait(self: subprocess.Popen[Any], timeout: float | None) -> int:
    """``Popen._wait``: the system wakes us, where the original looks again and again. May switch.

    Raises:
        subprocess.TimeoutExpired: It has not ended within ``timeout`` seconds.
    """
    if self.returncode is None and timeout is not None and timeout > 0:
        try:
            if not wait_process(self.pid, timeout):
                raise subprocess.TimeoutExpired(self.args, timeout)
            timeout = None
        except OSError as exc:
            if exc.errno == errno.EBADF:
                raise
            # The system can't tell, or somebody else has reaped it: the original knows what to do.
    code: int = _wait(self, timeout)
    return code
