"""How a program is begun again with the patch first."""

from __future__ import annotations

import sys

import pytest

from greenserve.contrib._programs import server_keywords, with_patch

PATCHED = [sys.executable, "-m", "greenserve.monkey"]


@pytest.mark.parametrize(
    ("command", "count", "expected"),
    [
        (["python", "manage.py", "greenserve"], 2, [*PATCHED, "manage.py", "greenserve"]),
        (["python", "-m", "django", "greenserve", "8080"], 3, [*PATCHED, "-m", "django", "greenserve", "8080"]),
        (
            ["python", "-X", "dev", "-W", "error", "manage.py", "greenserve", "-m"],
            3,
            [sys.executable, "-X", "dev", "-W", "error", *PATCHED[1:], "manage.py", "greenserve", "-m"],
        ),
        (["/usr/bin/python3", "/usr/bin/flask", "greenserve"], 2, [*PATCHED, "/usr/bin/flask", "greenserve"]),
    ],
)
def test_the_patch_comes_before_the_program_and_after_the_interpreters_options(
    command: list[str], count: int, expected: list[str]
) -> None:
    assert with_patch(command, count) == expected


def test_the_environment_sets_the_servers_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENSERVE_KEEP_ALIVE", "7s")
    assert server_keywords()["keep_alive"] == 7.0
