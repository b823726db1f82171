"""The configurations in the guides are right: every command in them is one that greenserve takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.config import load
from greenserve.configfile import read_config_file
from tests.cli.running import environment
from tests.docs.markdown import ROOT, Block, parse

HOWTO = ROOT / "docs" / "howto"


def blocks(page: str, language: str) -> list[Block]:
    path = HOWTO / page
    return [block for block in parse(path.read_text(), path).blocks if block.language == language]


def commands() -> list[list[str]]:
    """Return the arguments of greenserve in units, images and deployments."""
    (unit, *_) = blocks("run-under-systemd.md", "ini")
    found = [line.partition("/greenserve ")[2].split() for line in unit.text.splitlines() if "ExecStart=" in line]
    for block in blocks("run-in-a-container.md", "text"):
        lists = re.findall(r"^\s*(?:CMD|args:) (\[\"greenserve\".*\])$", block.text, re.MULTILINE)
        found += [json.loads(text)[1:] for text in lists]
    return found


def test_there_is_a_command_in_each_guide() -> None:
    assert len(commands()) == 3


@pytest.mark.parametrize("args", commands(), ids=" ".join)
def test_a_command_in_a_guide_is_one_that_greenserve_takes(tmp_path: Path, args: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "greenserve", *args, "--print-config"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "wsgi_app = 'shop.wsgi:app'  # MODULE:APP on the command line" in done.stdout


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs an extra there")
def test_the_settings_that_replace_uwsgis_are_right(tmp_path: Path) -> None:
    (block,) = blocks("come-from-uwsgi.md", "toml")
    file = tmp_path / "greenserve.toml"
    file.write_text(block.text)
    config = load(read_config_file(str(file)).source)
    assert (config.workers, config.request_timeout, config.worker_max_rss) == (4, 30.0, 512 << 20)


def test_stop_times_leave_room_for_the_requests_that_run() -> None:
    slack = 5  # seconds that a worker gets after graceful_timeout
    (unit, *_) = blocks("run-under-systemd.md", "ini")
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit.text)[0]) >= load().graceful_timeout + slack
    deployment = blocks("run-in-a-container.md", "text")[1].text
    grace = int(re.findall(r"terminationGracePeriodSeconds: (\d+)", deployment)[0])
    assert grace >= load().graceful_timeout + slack + 5


@pytest.mark.system
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_the_configurations_in_the_guides(tmp_path: Path) -> None:
    for page in ("run-behind-a-proxy.md", "serve-on-a-unix-socket.md"):
        for block in blocks(page, "nginx"):
            # The certificate is left to the reader there.
            text = block.text.replace("listen 443 ssl;", "listen 8443;")
            conf = tmp_path / "nginx.conf"
            conf.write_text(
                f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n"
            )
            done = subprocess.run(
                ["nginx", "-t", "-p", str(tmp_path), "-c", str(conf)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
