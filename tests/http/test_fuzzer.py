from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_fuzzer_runs_and_breaks_nothing(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_http", "0.5", str(tmp_path), "--random"],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no invariant broken" in ran.stdout
    assert list(tmp_path.iterdir()) == []
