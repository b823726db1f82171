"""Memory that was freed is used again, and not fetched anew from the system for each body."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Two bodies of 5 MB at a time, in a process whose heap nothing else holds; how many pages the system has to find.
PROGRAM = """
import resource
from greenserve.wsgi.memory import keep_freed_memory

{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def round():
    bodies = [b"x" * 5_000_000 for _ in range(2)]

round()
round()
start = faults()
for _ in range(20):
    round()
print(faults() - start)
"""


def pages_of(before: str) -> int:
    program = PROGRAM.format(before=before)
    return int(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=30).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_the_pages_of_large_bodies_are_fetched_once() -> None:
    assert pages_of("") > 20_000
    assert pages_of("keep_freed_memory()") < 2_000
