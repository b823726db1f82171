"""``eventlet.green.subprocess``: the module subprocess, cooperative. A copy but for its exceptions."""

from __future__ import annotations

import subprocess as _subprocess
from typing import Any

from greenserve import monkey
from greenserve.compat.eventlet._face.patcher import slurp_properties
from greenserve.green.os import wait_process as _wait_process
from greenserve.green.subprocess import popen_wait as _popen_wait

__patched__ = ["Popen", "call", "check_call", "check_output"]


def _wait(self: Any, timeout: float | None) -> int:
    if timeout is None and self.returncode is None:
        try:
            _wait_process(self.pid)
        except OSError:
            pass  # the system can't tell: then the whole OS thread waits
    return _popen_wait(self, timeout)


_copy: Any = monkey.import_patched("subprocess")
_copy.Popen._wait = _wait
# Whoever catches the standard library's is to catch these.
for _name in ("SubprocessError", "CalledProcessError", "TimeoutExpired"):
    setattr(_copy, _name, getattr(_subprocess, _name))
slurp_properties(_copy, globals(), srckeys=dir(_copy))
