"""Every property test with new random examples, round after round, for an hour."""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time

from tests.layers import PACKAGE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=60, help="no new round begins after this (default: 60)")
    parser.add_argument("paths", nargs="*", default=["tests"], help="where to look for tests (default: all of them)")


def run(arguments: argparse.Namespace) -> dict[str, str]:
    deadline = time.monotonic() + arguments.minutes * 60
    rounds = examples = 0
    while rounds == 0 or time.monotonic() < deadline:
        seed = random.randrange(1 << 32)
        print(f"round {rounds + 1}, seed {seed}", flush=True)
        examples += _run_round(seed, arguments.paths)
        rounds += 1
    return {"rounds": str(rounds), "examples, all of them passed": f"{examples:,}"}


def _run_round(seed: int, paths: list[str]) -> int:
    """Run every property test once and return how many examples passed.

    Raises:
        SystemExit: One failed; pytest has printed the example.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "hypothesis and not system",
        "--timeout=0",
        "-p",
        "no:cacheprovider",
    ]
    ran = subprocess.run(
        [*command, f"--hypothesis-seed={seed}", "--hypothesis-show-statistics", *paths],
        cwd=PACKAGE.parent,
        env={**os.environ, "HYPOTHESIS_PROFILE": "long"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(f"{ran.stdout}\nfailed with seed {seed}")
    return sum(map(int, re.findall(r"- (\d+) passing", ran.stdout)))
