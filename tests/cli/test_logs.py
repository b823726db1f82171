"""What the command sets up in ``logging``, and what it leaves alone."""

from __future__ import annotations

import logging
import logging.config
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve.logs import LogError, configure_logs, keep_logs_enabled

ERRORS = logging.getLogger("greenserve")
ACCESS = logging.getLogger("greenserve.access")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the loggers of this process as they were."""
    before = [(log, log.handlers[:], log.level, log.propagate, log.disabled) for log in (ERRORS, ACCESS)]
    yield
    for log, handlers, level, propagate, disabled in before:
        for handler in log.handlers:
            if handler not in handlers:
                handler.close()
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate, log.disabled = propagate, disabled


def test_an_error_line_has_time_process_and_level(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "info", None)
    logging.getLogger("greenserve.wsgi").warning("slow by %d s", 3)
    text = (tmp_path / "error.log").read_text()
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[WARNING\] slow by 3 s\n", text)


def test_what_is_under_the_level_is_not_logged(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "warning", None)
    logging.getLogger("greenserve.wsgi").info("hello")
    assert (tmp_path / "error.log").read_text() == ""


def test_an_access_line_is_the_message_alone_at_every_level_of_the_other_log(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "critical", str(tmp_path / "access.log"))
    ACCESS.info("%s", "GET / 200")
    assert (tmp_path / "access.log").read_text() == "GET / 200\n"
    assert (tmp_path / "error.log").read_text() == ""


def test_without_an_access_log_nobody_need_format_a_line(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "debug", None)
    assert not ACCESS.isEnabledFor(logging.INFO)


@pytest.mark.parametrize(("error_logfile", "access_logfile"), [("-", None), ("-", "-")])
def test_a_dash_is_stderr_for_errors_and_stdout_for_accesses(
    capsys: pytest.CaptureFixture[str], error_logfile: str, access_logfile: str | None
) -> None:
    configure_logs(error_logfile, "info", access_logfile)
    ERRORS.error("an error")
    ACCESS.info("an access")
    out, err = capsys.readouterr()
    assert err.endswith("an error\n")
    assert out == ("an access\n" if access_logfile else "")


def test_a_second_set_up_replaces_the_first(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "one.log"), "info", None)
    configure_logs(str(tmp_path / "two.log"), "info", None)
    ERRORS.error("an error")
    assert (tmp_path / "one.log").read_text() == ""
    assert (tmp_path / "two.log").read_text().endswith("an error\n")


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no directory" / "error.log"
    with pytest.raises(LogError, match=r"can't write the log .*error.log: No such file or directory"):
        configure_logs(str(path), "info", None)


def test_the_root_logger_stays_the_applications(tmp_path: Path) -> None:
    before = logging.root.handlers[:]
    configure_logs(str(tmp_path / "error.log"), "info", None)
    assert logging.root.handlers == before


def test_an_application_that_configures_logging_does_not_silence_the_server(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "info", None)
    child = logging.getLogger("greenserve.wsgi")
    # What dictConfig and fileConfig do by default to every logger that they don't name.
    ERRORS.disabled = child.disabled = True
    keep_logs_enabled()
    child.error("an error")
    assert (tmp_path / "error.log").read_text().endswith("an error\n")
