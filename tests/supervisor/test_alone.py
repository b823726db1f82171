"""One process without a master: signals that are meant for a master do it no harm."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.supervisor.running import ENDING, ask, running

pytestmark = pytest.mark.system


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU])
def test_a_signal_for_a_master_is_refused_with_a_word_about_workers(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "shop:app") as server:
        before = server.send(number)
        server.err.wait_for(f"{number.name} needs a master, which --workers starts: nothing is done", after=before)
        assert server.get("/x") == f"{server.process.pid} /x"
        assert server.stop() == 0


@pytest.mark.parametrize(("code", "status"), [("3", 3), ("", 0), ("None", 0), ("'enough'", 1), ("300", 44)])
def test_an_application_that_ends_the_program_says_with_which_status(tmp_path: Path, code: str, status: int) -> None:
    with running(tmp_path, "shop:app", app=ENDING.replace("CODE", code)) as server:
        assert ask(server.port, "/exit")[0] == 503
        server.err.wait_for(r"WARNING.* the application ends this server by SystemExit\(.*\): stopping within 30 s")
        assert server.wait() == status


def test_with_dump_on_usr2_that_signal_shows_the_stacks(tmp_path: Path) -> None:
    with running(tmp_path, "shop:app", "--dump-on-usr2") as server:
        before = server.send(signal.SIGUSR2)
        server.err.wait_for("hub", after=before)
        assert "needs a master" not in server.err.text
        assert server.stop() == 0
