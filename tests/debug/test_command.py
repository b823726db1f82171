"""What the command's settings about debugging do, in a process that serves alone and in one of several."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve.errors import SettingError
from greenserve.settings import SETTINGS
from tests.cli.running import Command
from tests.sync.threads import until

APP = """
import os, time
from greenserve.net import resolver

def app(environ, start_response):
    if environ["PATH_INFO"] == "/names":
        start_response("200 OK", [])
        return [str(resolver._caching.cache.max_age).encode()]
    end = time.monotonic() + float(environ["QUERY_STRING"] or 0)
    while time.monotonic() < end:
        pass
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture(params=[[], ["--workers", "1"]], ids=["alone", "worker"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "blocking.py").write_text(APP)
    options = ["-b", "127.0.0.1:0", "--block-warn", "50", "--dump-on-usr2", "--cache-names", "5m", *request.param]
    command = Command(*options, "blocking:app", cwd=tmp_path, stderr=tmp_path / "stderr")
    yield command
    command.stop()
    command.close()


def test_blocks_are_told_of_and_a_signal_tells_of_everybody_and_names_are_remembered(command: Command) -> None:
    server = int(command.get("/"))
    command.get("/?0.2")
    until(lambda: "runs again, after" in command.stderr)
    assert len(re.findall(r"\[WARNING\] the hub of MainThread has not run for [0-9]+ ms", command.stderr)) == 1
    assert 'blocking.py", line 10, in app\n    while time.monotonic() < end:' in command.stderr
    os.kill(server, signal.SIGUSR2)
    until(lambda: "_accept: reading fd " in command.stderr)
    assert f"The green threads of process {server}:" in command.stderr
    assert command.get("/") == str(server)
    assert command.get("/names") == "300.0"


@pytest.mark.parametrize(
    ("given", "seconds"), [("100", 0.1), (100, 0.1), (0.5, 0.0005), ("1.5", 0.0015), ("2s", 2.0), ("250ms", 0.25)]
)
def test_block_warn_is_in_milliseconds_unless_it_has_a_unit(given: object, seconds: float) -> None:
    setting = SETTINGS["block_warn"]
    value = setting.parse(given)
    assert value == seconds
    assert setting.parse(setting.kind.show(value)) == value


@pytest.mark.parametrize("given", ["off", "none", "0", 0, None])
def test_block_warn_can_be_off(given: object) -> None:
    assert SETTINGS["block_warn"].parse(given) is None


@pytest.mark.parametrize("given", ["", "-1", -1, "fast", "1 0", float("nan"), True])
def test_any_other_block_warn_is_refused(given: object) -> None:
    with pytest.raises(SettingError, match="allowed: milliseconds, or a time such as 100ms or 2s; or off"):
        SETTINGS["block_warn"].parse(given)
