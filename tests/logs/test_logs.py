"""What the command sets up in ``logging``, and what it leaves alone."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import pty
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve.logs import BackgroundHandler, LogError, LogFile, configure_logs, keep_logs_enabled
from greenserve.logs.terminal import TerminalFormatter, has_colours

ERRORS = logging.getLogger("greenserve")
ACCESS = logging.getLogger("greenserve.access")
THEIRS = logging.getLogger("an.application")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the loggers of this process as they were."""
    before = [(log, log.handlers[:], log.level, log.propagate) for log in (ERRORS, ACCESS, THEIRS)]
    everything = [log for log in logging.root.manager.loggerDict.values() if isinstance(log, logging.Logger)]
    states = [(log, log.__class__, log.disabled) for log in everything]
    yield
    for log, kind, disabled in states:
        log.__class__ = kind
        log.disabled = disabled
    for log, handlers, level, propagate in before:
        for handler in log.handlers:
            if handler not in handlers:
                handler.close()
                if isinstance(handler, BackgroundHandler):
                    handler.file.close()
        log.handlers[:] = handlers
        log.setLevel(level)
        log.propagate = propagate


def test_an_error_line_has_time_process_and_level(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "info", None)
    logging.getLogger("greenserve.wsgi").warning("slow by %d s", 3)
    logs.flush()
    text = (tmp_path / "error.log").read_text()
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[WARNING\] slow by 3 s\n", text)


def test_what_is_under_the_level_is_not_logged(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "warning", None)
    logging.getLogger("greenserve.wsgi").info("hello")
    logs.flush()
    assert (tmp_path / "error.log").read_text() == ""


def test_an_access_line_is_the_message_alone_at_every_level_of_the_other_log(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "critical", str(tmp_path / "access.log"))
    ACCESS.info("%s", "GET / 200")
    logs.flush()
    assert (tmp_path / "access.log").read_text() == "GET / 200\n"
    assert (tmp_path / "error.log").read_text() == ""


def test_without_an_access_log_nobody_need_format_a_line(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "error.log"), "debug", None)
    assert not ACCESS.isEnabledFor(logging.INFO)


@pytest.mark.parametrize(("error_logfile", "access_logfile"), [("-", None), ("-", "-")])
def test_a_dash_is_stderr_for_errors_and_stdout_for_accesses(
    capsys: pytest.CaptureFixture[str], error_logfile: str, access_logfile: str | None
) -> None:
    logs = configure_logs(error_logfile, "info", access_logfile)
    ERRORS.error("an error")
    ACCESS.info("an access")
    logs.flush()
    out, err = capsys.readouterr()
    assert err.endswith("an error\n")
    assert out == ("an access\n" if access_logfile else "")


def test_a_second_set_up_replaces_the_first(tmp_path: Path) -> None:
    configure_logs(str(tmp_path / "one.log"), "info", None)
    logs = configure_logs(str(tmp_path / "two.log"), "info", None)
    ERRORS.error("an error")
    logs.flush()
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


@pytest.mark.parametrize("when", ["before", "while it loads", "in a request"])
def test_an_application_that_configures_logging_does_not_silence_the_server(tmp_path: Path, when: str) -> None:
    child = logging.getLogger("greenserve.wsgi")
    if when == "before":  # a configuration file is read first of all
        logging.config.dictConfig({"version": 1})
    logs = configure_logs(str(tmp_path / "error.log"), "info", None)
    late = logging.getLogger(f"greenserve.late.{when}")
    if when == "while it loads":
        logging.config.dictConfig({"version": 1})
    keep_logs_enabled()
    if when == "in a request":
        logging.config.dictConfig({"version": 1})
    for logger in (child, ERRORS, late):
        logger.error("from %s", logger.name)
    THEIRS.error("theirs")
    logs.flush()
    said = (tmp_path / "error.log").read_text().splitlines()
    assert [line.partition("from ")[2] for line in said] == ["greenserve.wsgi", "greenserve", late.name]


def test_a_logger_of_somebody_elses_class_is_enabled_again() -> None:
    class Theirs(logging.Logger):
        pass

    before = logging.getLoggerClass()
    logging.setLoggerClass(Theirs)
    try:
        logger = logging.getLogger("greenserve.theirs")
    finally:
        logging.setLoggerClass(before)
    logger.disabled = True
    keep_logs_enabled()
    assert type(logger) is Theirs
    assert not logger.disabled


def test_an_application_that_configures_logging_closes_no_log_of_the_server(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "info", str(tmp_path / "access.log"))
    logging.config.dictConfig({"version": 1, "handlers": {"theirs": {"class": "logging.NullHandler"}}})
    ERRORS.error("an error")
    ACCESS.info("an access")
    assert isinstance(logs.access, LogFile)
    logs.access.write("GET / 200\n")
    logs.flush()
    assert (tmp_path / "error.log").read_text().endswith("an error\n")
    assert (tmp_path / "access.log").read_text() == "an access\nGET / 200\n"
    assert logs.dropped == 0


def test_the_end_writes_what_is_left_and_waits_for_no_full_disk(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "info", "/dev/full")
    ERRORS.error("an error")
    ACCESS.info("an access")
    logs.close()
    assert isinstance(logs.access, LogFile)
    assert logs.access.dropped == 1  # given up, where a flush would have waited for the disk
    assert "an error" in (tmp_path / "error.log").read_text()


def test_what_is_written_to_the_access_file_is_there_after_a_flush(tmp_path: Path) -> None:
    logs = configure_logs("-", "info", str(tmp_path / "access.log"))
    assert isinstance(logs.access, LogFile)
    logs.access.write("GET / 200\n")
    logs.flush()
    assert (tmp_path / "access.log").read_text() == "GET / 200\n"
    assert logs.dropped == 0


def test_reopening_follows_a_rotation_of_both_logs(tmp_path: Path) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "info", str(tmp_path / "access.log"))
    for name in ("error.log", "access.log"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    logs.reopen()
    ERRORS.error("an error")
    ACCESS.info("an access")
    logs.flush()
    assert (tmp_path / "access.log").read_text() == "an access\n"
    assert (tmp_path / "error.log").read_text().endswith("an error\n")


def test_a_stream_without_a_file_is_written_to_at_once() -> None:
    stream = io.StringIO()
    file = LogFile("-", stream)
    file.write("one\n")
    assert stream.getvalue() == "one\n"
    file.reopen()
    file.close()


def test_what_no_encoding_takes_is_escaped(tmp_path: Path) -> None:
    file = LogFile(str(tmp_path / "log"), io.StringIO())
    file.write("\udcff\n")
    file.close()
    assert (tmp_path / "log").read_text() == "\\udcff\n"


def test_a_message_that_does_not_fit_its_arguments_raises_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = configure_logs(str(tmp_path / "error.log"), "info", None)
    ERRORS.error("%d", "no number")
    logs.flush()
    assert "no number" in capsys.readouterr().err


# log_config


def dictionary(path: Path) -> dict[str, object]:
    return {
        "version": 1,
        "formatters": {"short": {"format": "%(levelname)s %(message)s"}},
        "handlers": {
            "file": {"class": "greenserve.logs.BackgroundHandler", "filename": str(path), "formatter": "short"}
        },
        "loggers": {
            "greenserve": {"handlers": ["file"], "level": "WARNING"},
            "greenserve.access": {"handlers": ["file"], "propagate": False},
            "an.application": {"handlers": ["file"]},
        },
    }


INI = """[loggers]
keys=root,greenserve,access,app
[handlers]
keys=file
[formatters]
keys=short
[formatter_short]
format=%(levelname)s %(message)s
[handler_file]
class=greenserve.logs.BackgroundHandler
args=("{path}",)
formatter=short
[logger_root]
handlers=
[logger_greenserve]
qualname=greenserve
handlers=file
level=WARNING
propagate=0
[logger_access]
qualname=greenserve.access
handlers=file
level=INFO
propagate=0
[logger_app]
qualname=an.application
handlers=file
propagate=0
"""


@pytest.mark.parametrize("kind", ["dict", "json", "ini"])
def test_log_config_says_where_everything_goes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "all.log"
    config: dict[str, object] | str = dictionary(path)
    if kind == "json":
        (tmp_path / "log.json").write_text(json.dumps(config))
        config = str(tmp_path / "log.json")
    elif kind == "ini":
        (tmp_path / "log.ini").write_text(INI.format(path=path))
        config = str(tmp_path / "log.ini")
    logs = configure_logs("-", "info", None, config)
    ERRORS.info("too low")
    ERRORS.warning("a warning")
    THEIRS.error("an error")
    assert logs.access is ACCESS
    ACCESS.info("an access")
    logs.flush()
    logs.reopen()
    logs.flush()
    for handler in THEIRS.handlers:
        handler.close()
    assert path.read_text() == "WARNING a warning\nERROR an error\nINFO an access\n"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, which is left as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield logging.root
    for handler in logging.root.handlers:
        if isinstance(handler, BackgroundHandler):
            handler.file.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.parametrize(
    ("loggers", "errors", "rest"),
    [
        ({}, ["a warning"], ["theirs"]),
        ({"greenserve": {"level": "WARNING"}}, [], ["a warning", "theirs"]),
        ({"greenserve": {"handlers": ["rest"], "propagate": False}}, [], ["a warning", "theirs"]),
    ],
)
def test_what_log_config_says_nothing_of_stays_in_the_error_log(
    tmp_path: Path, root: logging.Logger, loggers: dict[str, object], errors: list[str], rest: list[str]
) -> None:
    config = dictionary(tmp_path / "rest.log")
    handlers = {"rest": config["handlers"]["file"]}  # type: ignore[index]  # the test's own
    config |= {"handlers": handlers, "root": {"handlers": ["rest"], "level": "INFO"}, "loggers": loggers}
    logs = configure_logs(str(tmp_path / "error.log"), "info", None, config)
    logging.getLogger("greenserve.wsgi").warning("a warning")
    root.error("theirs")
    logs.flush()
    for name, expected in (("error.log", errors), ("rest.log", rest)):
        lines = (tmp_path / name).read_text().splitlines()
        assert [re.split(r"WARNING\]? |ERROR ", line)[1] for line in lines] == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.json", "{", "log.json is not right: Expecting property name"),
        ("log.json", "{}", "log.json is not right: dictionary doesn't specify a version"),
        (
            "log.json",
            '{"version": 1, "handlers": {"a": {"class": "no.such.Class"}}}',
            "log.json is not right: Unable to configure handler 'a': ",
        ),
        ("log.ini", "[loggers]", "log.ini is "),
        ("absent.ini", None, "can't read log_config .*absent.ini: No such file or directory"),
        ("absent.json", None, "can't read log_config .*absent.json: No such file or directory"),
    ],
)
def test_a_log_config_that_is_not_right_is_told_with_its_name(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(LogError, match=message):
        configure_logs("-", "info", None, str(tmp_path / name))


# A terminal


@pytest.mark.parametrize(
    ("environ", "on_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_colours_are_for_terminals_unless_the_environment_says_otherwise(
    environ: dict[str, str], on_terminal: bool, expected: bool
) -> None:
    master, terminal = pty.openpty()
    read, write = os.pipe()
    with open(terminal, "w") as tty, open(write, "w") as pipe:
        assert has_colours(tty if on_terminal else pipe, environ) is expected
    os.close(master)
    os.close(read)


def test_a_closed_stream_has_no_colours() -> None:
    stream = io.StringIO()
    stream.close()
    assert not has_colours(stream, {})


def test_a_terminal_gets_a_short_line() -> None:
    record = logging.LogRecord("greenserve", logging.WARNING, "", 0, "slow by %d s", (3,), None)
    assert re.fullmatch(r"\d\d:\d\d:\d\d warn  slow by 3 s", TerminalFormatter(colours=False).format(record))
    coloured = TerminalFormatter(colours=True).format(record)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == TerminalFormatter(colours=False).format(record)
    assert "\x1b[33mwarn \x1b[0m" in coloured


def test_a_line_of_another_process_says_which_one() -> None:
    record = logging.LogRecord("greenserve", logging.INFO, "", 0, "hello", None, None)
    record.process = os.getpid() + 1
    assert TerminalFormatter(colours=False).format(record).endswith(f"info  [{os.getpid() + 1}] hello")


def test_what_goes_to_a_terminal_is_formatted_for_a_person() -> None:
    master, terminal = pty.openpty()
    with open(terminal, "w") as tty:
        file = LogFile("-", tty)
        assert file.is_terminal
        handler = BackgroundHandler(file=file)
        handler.emit(logging.LogRecord("greenserve", logging.INFO, "", 0, "hello", None, None))
        handler.close()
        assert os.read(master, 1000) == b"hello\r\n"
    os.close(master)
