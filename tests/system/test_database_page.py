"""The blocks of the page about databases that need a server."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.docs.markdown import ROOT, Block, parse
from tests.docs.running import check_output

pytestmark = pytest.mark.system

PATH = ROOT / "docs" / "howto" / "use-a-database.md"


def find_pairs() -> list[tuple[Block, Block]]:
    """Return each such block of code with the block of output that follows it."""
    blocks = [block for block in parse(PATH.read_text(), PATH).blocks if "skip" in block.markers]
    return [(code, output) for code, output in pairwise(blocks) if code.language == "python"]


@pytest.mark.parametrize(("code", "output"), find_pairs(), ids=["patched", "pooled"])
def test_what_the_page_shows_of_postgresql_is_so(code: Block, output: Block, postgres_port: int) -> None:
    assert output.language == "text"
    server = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres_port), "PGUSER": "greenserve", "PGDATABASE": "postgres"}
    done = subprocess.run(
        [sys.executable, "-c", code.text],
        env={**os.environ, "PYTHONPATH": str(ROOT), **server},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    check_output(output.text, done.stdout)
