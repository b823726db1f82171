"""The process that measures one library: ``python -m benchmarks.libraries.worker LIBRARY speed|memory``.

It prints its figures as JSON. CPU time is measured, user and system, so that other load on the machine shifts the
figures little. Nothing here waits for anything outside the process.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import time
from types import ModuleType

from benchmarks.libraries.operations import OPERATIONS
from benchmarks.processes import memory_of

__all__ = ["measure_memory", "measure_speed"]

REPEATS = 5
HELD = 10_000


def measure_speed(library: ModuleType) -> dict[str, list[float]]:
    """Return the CPU time of each operation of a library, in microseconds, as often as it was measured."""
    figures: dict[str, list[float]] = {}
    for operation in OPERATIONS:
        do = library.OPERATIONS.get(operation.name)
        if do is None:
            continue
        do(operation.count // 10)
        figures[operation.name] = []
        for _ in range(REPEATS):
            gc.collect()
            start = time.process_time()
            do(operation.count)
            figures[operation.name].append((time.process_time() - start) / operation.count * 1e6)
    return figures


def measure_memory(library: ModuleType) -> float:
    """Return how many bytes of private memory one more sleeping green thread takes."""
    library.hold(100)
    gc.collect()
    before = memory_of([os.getpid()]).private
    library.hold(HELD)
    gc.collect()
    return (memory_of([os.getpid()]).private - before) / HELD


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("figure", choices=["speed", "memory"])
    options = parser.parse_args()
    # One process imports one library only.
    library = importlib.import_module(f"benchmarks.libraries.{options.library}")
    print(json.dumps(measure_speed(library) if options.figure == "speed" else measure_memory(library)), flush=True)
    # The sleepers are of no use any more, and unwinding ten thousand of them tells nothing.
    os._exit(0)


if __name__ == "__main__":
    main()
