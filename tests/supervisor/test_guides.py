"""The configurations in the guides are right: each is run, or read by the program that it is for."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from greenserve.config import load
from greenserve.configfile import read_config_file
from tests.cli.running import environment
from tests.servers import require
from tests.supervisor.containers import container, instruction, pod
from tests.supervisor.guides import Ports, blocks, serving
from tests.supervisor.running import APP, DEADLINE

SYSTEMD = "run-under-systemd.md"

# What workers get to end, behind graceful_timeout, in seconds.
SLACK = 5


def unit() -> str:
    return blocks(SYSTEMD, "ini")[0].text


def exec_start() -> list[str]:
    """Return the arguments of greenserve in the unit."""
    (line,) = re.findall(r"^ExecStart=\S*/greenserve (.*)$", unit(), re.MULTILINE)
    return line.split()


COMMANDS = [["greenserve", *exec_start()], instruction("CMD"), container()["args"]]


@pytest.mark.parametrize("command", COMMANDS, ids=["unit", "image", "deployment"])
def test_a_command_in_a_guide_is_one_that_greenserve_takes(tmp_path: Path, command: list[str]) -> None:
    assert command[0] == "greenserve"
    done = subprocess.run(
        [sys.executable, "-m", *command, "--print-config"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "wsgi_app = 'shop.wsgi:app'  # MODULE:APP on the command line" in done.stdout


def test_stop_times_leave_room_for_the_requests_that_run() -> None:
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit())[0]) >= load().graceful_timeout + SLACK
    command = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    assert pod()["terminationGracePeriodSeconds"] >= int(command[1]) + load().graceful_timeout + SLACK


# uWSGI


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs an extra there")
def test_the_settings_that_replace_uwsgis_are_right(tmp_path: Path) -> None:
    (block,) = blocks("come-from-uwsgi.md", "toml")
    file = tmp_path / "greenserve.toml"
    file.write_text(block.text)
    config = load(read_config_file(str(file)).source)
    assert (config.workers, config.request_timeout, config.worker_max_rss) == (4, 30.0, 512 << 20)


@pytest.mark.system
@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML needs an extra there")
def test_what_replaces_uwsgis_configuration_serves(tmp_path: Path) -> None:
    (block,) = blocks("come-from-uwsgi.md", "toml")
    (tmp_path / "shop.toml").write_text(block.text.replace("/run/shop", str(tmp_path)))
    with serving(tmp_path, "--config", "shop.toml") as master:
        assert ask_unix(tmp_path / "web.sock").endswith(b" /x")
        assert oct((tmp_path / "web.sock").stat().st_mode & 0o777) == "0o660"
        assert (tmp_path / "shop.pid").read_text() == f"{master.process.pid}\n"
        assert len(master.workers(count=4)) == 4
        assert master.stop() == 0


def ask_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(str(path))
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with client.makefile("rb") as answer:
            return answer.read()


# gunicorn


@pytest.mark.system
def test_a_configuration_file_of_gunicorns_serves(tmp_path: Path) -> None:
    """The very file of the guide, which names gunicorn's own settings and one of its hooks."""
    (block,) = (block for block in blocks("come-from-gunicorn.md", "python") if "file" in block.markers)
    ports = Ports()
    (tmp_path / block.markers["file"]).write_text(ports.replace(block.text))
    with serving(tmp_path, "shop.wsgi:app") as master:
        workers = master.workers(count=3)
        assert {int(match[1]) for match in master.err.wait_for(r"worker (\d+) is born", 3)} == set(workers)
        assert ask_unix(tmp_path / "shop.sock").endswith(b" /x")
        assert int(master.get("/x").split()[0]) in workers
        master.out.wait_for(r'"GET /x HTTP/1\.1" 200 ', 2)
        assert master.stop() == 0


# systemd


def runnable(text: str, folder: Path) -> str:
    """Return a unit as it can be on this machine: its user, its paths, and what its systemd is too young for."""
    require("systemd-analyze", "systemd")
    shown = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    if int(re.findall(r"^systemd (\d+)", shown)[0]) < 253:  # as the guide says
        text = text.replace("Type=notify-reload", "Type=notify\nExecReload=/bin/kill -HUP $MAINPID")
    text = text.replace("User=shop", "User=root").replace("WorkingDirectory=/srv/shop", f"WorkingDirectory={folder}")
    return text.replace("/srv/shop/venv/bin/greenserve", f"{sys.executable} -m greenserve")


@pytest.mark.system
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    service, sockets = blocks(SYSTEMD, "ini")
    for name, text in (("shop.service", service.text), ("shop.socket", sockets.text)):
        (tmp_path / name).write_text(runnable(text, tmp_path))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "shop.service", "shop.socket"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "shop." in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.system
def test_the_command_of_the_unit_serves_reloads_and_stops(tmp_path: Path) -> None:
    args = shlex.split(shlex.join(exec_start()).replace("/run/shop", str(tmp_path)))
    with serving(tmp_path, *args) as master:
        assert ask_unix(tmp_path / "web.sock").endswith(b" /x")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)
        assert ask_unix(tmp_path / "web.sock").endswith(b" /x")
        assert master.stop() == 0


@pytest.mark.system
@pytest.mark.parametrize("args", [[], ["--workers", "2"]], ids=["without workers", "with workers"])
def test_systemds_own_socket_activation_is_understood(tmp_path: Path, args: list[str]) -> None:
    program = require("systemd-socket-activate", "systemd")
    ports = Ports()
    (tmp_path / "shop.py").write_text(APP)
    listens = ["--listen", f"127.0.0.1:{ports.public}", "--listen", str(tmp_path / "web.sock")]
    # It passes on what it is told of the environment, and no more.
    env = [f"--setenv={name}={value}" for name, value in environment().items() if name in ("PATH", "PYTHONPATH")]
    with subprocess.Popen(
        [program, *listens, *env, sys.executable, "-m", "greenserve", "shop:app", *args],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr
            # The first connection starts it.
            for line in process.stderr:
                if "Listening on" in line and "web.sock" in line:
                    break
            assert ask_unix(tmp_path / "web.sock").endswith(b" /x")
            connection = HTTPConnection("127.0.0.1", ports.public, timeout=DEADLINE)
            connection.request("GET", "/y")
            assert connection.getresponse().read().endswith(b" /y")
            connection.close()
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE)
        assert process.returncode == 0


# nginx


@pytest.mark.system
def test_nginx_takes_the_configurations_in_the_guides(tmp_path: Path) -> None:
    nginx = require("nginx", "nginx-light")
    for page in ("run-behind-a-proxy.md", "serve-on-a-unix-socket.md", "serve-socket-io.md"):
        for block in blocks(page, "nginx"):
            # The certificate is left to the reader there.
            text = block.text.replace("listen 443 ssl;", "listen 8443;")
            conf = tmp_path / "nginx.conf"
            conf.write_text(
                f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n"
            )
            done = subprocess.run(
                [nginx, "-t", "-p", str(tmp_path), "-c", str(conf)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
