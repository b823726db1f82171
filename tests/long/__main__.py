"""The long tests, by hand: ``python -m tests.long`` lists them, ``python -m tests.long NAME`` runs one.

With ``--record`` the figures are written into docs/reference/long-tests.md, in place of the last ones.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
from collections.abc import Mapping

from greenserve._version import __version__
from tests.layers import PACKAGE
from tests.long import autobahn, bodies, cpython, frameworks, fuzz, memory

JOBS = {
    "autobahn": autobahn,
    "bodies": bodies,
    "cpython": cpython,
    "frameworks": frameworks,
    "fuzz": fuzz,
    "memory": memory,
}

RECORD = PACKAGE.parent / "docs" / "reference" / "long-tests.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.long", description="Tests that take long.")
    jobs = parser.add_subparsers(dest="name", metavar="NAME")
    for name, module in JOBS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        job = jobs.add_parser(name, help=summary, description=module.__doc__)
        job.add_argument("--record", action="store_true", help=f"write the figures into {RECORD.name}")
        module.add_arguments(job)
    parsed = parser.parse_args(arguments)
    if parsed.name is None:
        parser.print_help()
        return 0
    began = time.monotonic()
    figures = JOBS[parsed.name].run(parsed)
    figures["took"] = f"{time.monotonic() - began:.0f} s"
    section = format_section(parsed.name, figures)
    print(section)
    if parsed.record:
        RECORD.write_text(replace_section(RECORD.read_text(), parsed.name, section))
    return 0


def format_section(name: str, figures: Mapping[str, str]) -> str:
    """Return the figures as one section of the page: a heading, where they come from, a table."""
    lines = [
        f"## {name}",
        "",
        f"greenserve {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.",
        "",
        "| what | figure |",
        "| --- | --- |",
        *(f"| {what} | {figure} |" for what, figure in figures.items()),
        "",
    ]
    return "\n".join(lines)


def replace_section(page: str, name: str, section: str) -> str:
    """Return the page with its section of that name replaced, or added at the end."""
    pattern = re.compile(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if not pattern.search(page):
        return f"{page.rstrip()}\n\n{section}"
    return pattern.sub(lambda _: f"{section}\n", page, count=1).rstrip() + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
