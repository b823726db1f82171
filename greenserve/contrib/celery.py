"""The pool for Celery's worker: ``CELERY_CUSTOM_WORKER_POOL=greenserve.contrib.celery:TaskPool``, and ``-P custom``.

Celery asks for the pool by name before it imports anything else. That is the moment to patch the standard library, and
the only one: whoever asks this module for ``TaskPool`` has it patched. To import the module alone changes nothing.
"""

from __future__ import annotations

import warnings
from typing import Any

from greenserve import extras, monkey

# Without TaskPool: `import *` is not what should patch a program.
__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name != "TaskPool":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # What Celery has loaded by now has taken little, and is mended where that matters. No task is loaded yet.
        warnings.simplefilter("ignore", monkey.PatchWarning)
        monkey.patch_all()
    return extras.load("celery", "greenserve.contrib._celery").TaskPool
