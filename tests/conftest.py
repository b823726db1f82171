"""What holds for every test: how hypothesis works here, and that a test leaves no socket behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two cores, several workers: how long one example takes says nothing here, and the deadline of a hang is pytest's.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
# For `python -m tests.long fuzz`: a lot of examples, new ones each time.
settings.register_profile("long", settings.get_profile("default"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_FDS = Path("/proc/self/fd")


def _open_sockets() -> set[str]:
    """Return the inodes of the sockets that this process holds. Empty where the system doesn't tell."""
    found = set()
    if _FDS.is_dir():
        for fd in os.listdir(_FDS):
            try:
                target = os.readlink(_FDS / fd)
            except FileNotFoundError:  # the one that listed the directory, or one that another thread closed
                continue
            if target.startswith("socket:"):
                found.add(target)
    return found


@pytest.fixture(autouse=True)
def _no_socket_outlives_its_test() -> Iterator[None]:
    before = _open_sockets()
    yield
    if _open_sockets() - before:
        # A socket in a circle of references is the collector's to close, and no leak.
        gc.collect()
        left = _open_sockets() - before
        assert not left, f"the test left {len(left)} open sockets"
