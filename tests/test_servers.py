from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import servers


def test_a_program_that_is_missing_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="no-such-program is not installed: it is in Debian's package nothing"
    ):
        servers.require("no-such-program", "nothing")


def test_in_ci_a_program_that_is_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        servers.require("no-such-program", "nothing")


def test_a_program_that_is_there_is_found() -> None:
    assert Path(servers.require("sh", "dash")).name == "sh"


def test_a_server_ends_with_its_block_and_leaves_nothing() -> None:
    with servers.temporary_place() as place:
        ready = Path(place.directory, "ready")
        with place.serve("sh", "-c", "echo $$ > pid; mv pid ready; exec sleep 60", is_ready=ready.exists):
            pid = int(ready.read_text())
            assert Path("/proc", str(pid)).exists()
        assert not Path("/proc", str(pid)).exists()
    assert not Path(place.directory).exists()


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        servers.temporary_place() as place,
        pytest.raises(AssertionError, match=r"sh ended with 3\nno room"),
        place.serve("sh", "-c", "echo no room; exit 3", is_ready=lambda: False),
    ):
        pass


def test_a_command_that_fails_says_why() -> None:
    with servers.temporary_place() as place, pytest.raises(AssertionError, match="sh: no room"):
        place.run("sh", "-c", "echo no room; exit 3")


def test_a_server_that_is_never_ready_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "DEADLINE", 0.1)
    began: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: object, **options: object) -> subprocess.Popen[bytes]:
        began.append(popen(*args, **options))  # type: ignore[call-overload]  # as it is called
        return began[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    with (
        servers.temporary_place() as place,
        pytest.raises(AssertionError, match=r"not ready after 0\.1 s"),
        place.serve("sleep", "60", is_ready=lambda: False),
    ):
        pass
    assert began[0].returncode == -15
