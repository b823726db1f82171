"""What does a green thread cost: to spawn, to switch, to wake by a queue, a lock, a timer or a socket, and to keep?

Each library runs in processes of its own, in rounds that alternate. The floor is a bare greenlet with the standard
library, where that has the same effect. The lowest figure is what the code costs, and what the ratios compare; the
median is what it costs on this machine at this hour. Of an import, a difference of two starts of Python, only the
median says something.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import sys
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec

from benchmarks import machine
from benchmarks.errors import BenchmarkError
from benchmarks.libraries.operations import OPERATIONS
from benchmarks.processes import run_pinned
from benchmarks.reports import format_table, median, ratio

__all__ = ["add_arguments", "run"]

OURS = "greenserve"
LIBRARIES = ("greenlet", OURS, "gevent", "eventlet")
IMPORT_PAIRS = 20

_ROWS = {
    **{operation.name: (f"{operation.title}, µs", 2) for operation in OPERATIONS},
    "memory": ("memory of a sleeping green thread, KB", 2),
    "import": ("import, ms", 1),
}


@dataclass
class Figures:
    """What was measured of one library: for each row of the table, as many figures as there were measurements."""

    library: str
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, row: str, *figures: float) -> None:
        self.rows.setdefault(row, []).extend(figures)

    def best(self, row: str) -> float | None:
        """Return the figure to compare: the lowest, or the median of an import; None where there is no figure."""
        figures = self.rows.get(row, ())
        return median(figures) if row == "import" else min(figures, default=None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--libraries", metavar="A,B", help="only these (default: all that are installed)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turn (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="also store the result")


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, and return 0."""
    libraries = _choose_libraries(options.libraries)
    versions = {name: _version(name) for name in libraries}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    figures = [Figures(name) for name in libraries]
    for number in range(options.rounds):
        for library in figures:
            _measure_round(library)
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    for _ in range(IMPORT_PAIRS):
        for library in figures:
            library.add("import", (_start_python(library.library) - _start_python(None)) * 1e3)
    print(f"\nlowest figure (median)\n\n{format_figures(figures)}")
    if options.json:
        settings = {"rounds": options.rounds, "import_pairs": IMPORT_PAIRS}
        machine.write_json(options.json, "primitives", settings, versions, [asdict(library) for library in figures])
    return 0


def format_figures(figures: list[Figures]) -> str:
    """Return the table: a row for each operation, a column for each library, and our ratio to each of the others."""
    ours = next((library for library in figures if library.library == OURS), Figures(OURS))
    others = [library for library in figures if library is not ours]
    lines = []
    for row, (title, digits) in _ROWS.items():
        cells = [title]
        for library in figures:
            middle = median(library.rows.get(row, ()))
            best = library.best(row)
            if middle is None or best is None:
                cells.append("-")
            else:
                cells.append(f"{best:.{digits}f}" + (f" ({middle:.{digits}f})" if best != middle else ""))
        cells += [ratio(ours.best(row), other.best(row)) for other in others]
        lines.append(cells)
    headings = ["", *(library.library for library in figures), *(f"{OURS} ÷ {other.library}" for other in others)]
    return format_table(headings, lines)


def _choose_libraries(names: str | None) -> list[str]:
    available = [name for name in LIBRARIES if find_spec(name) is not None]
    if names is None:
        return available
    chosen = [name.strip() for name in names.split(",")]
    if missing := [name for name in chosen if name not in available]:
        raise BenchmarkError(f"not known or not installed: {', '.join(missing)} (known: {', '.join(LIBRARIES)})")
    return chosen


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "this checkout"


def _measure_round(library: Figures) -> None:
    worker = [sys.executable, "-m", "benchmarks.libraries.worker", library.library]
    for row, figures in json.loads(run_pinned([*worker, "speed"], machine.SERVER_CORE, timeout=120)).items():
        library.add(row, *figures)
    held = json.loads(run_pinned([*worker, "memory"], machine.SERVER_CORE, timeout=60))
    library.add("memory", held / 1024)


def _start_python(library: str | None) -> float:
    """Return the CPU time, in seconds, of an isolated Python that imports ``library``, or nothing."""
    # Isolated, it does not find this checkout by itself; the same line before both keeps the pair equal.
    code = f"import sys; sys.path.insert(0, {str(machine.ROOT)!r}); {f'import {library}' if library else 'pass'}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_pinned([sys.executable, "-I", "-c", code], machine.SERVER_CORE, timeout=30)
    # Of all children, but this one alone was reaped in between.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
