"""The parts of the supervisor that know one thing each: shared memory, what the system says, messages, names."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve._kinds import InheritedFd, TcpAddress
from greenserve.binds import BindError
from greenserve.config import Config, Source, load
from greenserve.configfile import ConfigFile
from greenserve.errors import SettingError
from greenserve.settings import SETTINGS
from greenserve.supervisor import memory, needs_master
from greenserve.supervisor.deaths import Deaths
from greenserve.supervisor.hooks import Hooks, misspelt_hooks
from greenserve.supervisor.identity import Owner, PidFile, PidFileError
from greenserve.supervisor.listeners import Listeners
from greenserve.supervisor.memory import count_oom_kills, resident_bytes
from greenserve.supervisor.notify import Notifier, take_listen_fds
from greenserve.supervisor.pulse import Beat, Pulse
from greenserve.supervisor.workers import State, Worker, describe_exit, encode_message


def settings(**values: object) -> Config:
    return load(Source("here", values))


# Listeners


@pytest.mark.parametrize(
    ("is_chosen", "hint"), [(True, ""), (False, "; choose another address with --bind 127.0.0.1:{}")]
)
def test_a_busy_port_that_nobody_has_chosen_is_told_with_how_to_choose_one(is_chosen: bool, hint: str) -> None:
    default = load()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        values = {name: getattr(default, name) for name in SETTINGS} | {"bind": (TcpAddress("127.0.0.1", port),)}
        with pytest.raises(BindError) as caught:
            Listeners(Config(values, {"bind": "on the command line"} if is_chosen else {}), 1)
    assert str(caught.value) == f"can't listen on 127.0.0.1:{port}: it is in use" + hint.format(port + 1)


def test_clients_are_stuck_by_their_addresses_only_at_a_host_and_port(tmp_path: Path) -> None:
    bind = ["127.0.0.1:0", f"unix:{tmp_path / 'a.sock'}"]
    with pytest.raises(BindError, match=r"can't stick clients at unix:.*a\.sock by their addresses: .* HOST:PORT"):
        Listeners(settings(bind=bind, sticky="address"), 2)
    assert not (tmp_path / "a.sock").exists()
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        fd = os.dup(inherited.fileno())
        with pytest.raises(BindError, match=f"can't stick clients at fd://{fd} "):
            Listeners(settings(sticky="address"), 2, [InheritedFd(fd)])
        os.close(fd)


# Pulse


@given(st.floats(0, 1e9), st.floats(0, 1e6), *[st.integers(0, (1 << 64) - 1)] * 4)
def test_a_beat_is_read_as_it_was_written(
    at: float, lag: float, rss: int, connections: int, requests: int, failed: int
) -> None:
    pulse = Pulse()
    beat = Beat(at, lag, rss, connections, requests, failed)
    pulse.write(beat)
    assert pulse.read() == beat
    pulse.close()


def test_a_pulse_that_a_child_writes_is_read_by_its_parent() -> None:
    pulse = Pulse()
    pid = os.fork()
    if pid == 0:
        pulse.write(Beat(1.5, 0.25, 3, 4, 5, 6))
        os._exit(0)
    os.waitpid(pid, 0)
    assert pulse.read() == Beat(1.5, 0.25, 3, 4, 5, 6)
    pulse.close()


# Memory


def test_the_memory_of_this_process_is_told_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = resident_bytes()
    assert 1 << 22 < here < 1 << 33
    monkeypatch.setattr(memory, "_STATM", Path("/no/such"))
    assert resident_bytes() >= here // 2, "the peak, where the system tells nothing else"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"sys/fs/cgroup/memory.events": "low 0\noom 1\noom_kill 3\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/system.slice/shop.service\n",
                "sys/fs/cgroup/system.slice/shop.service/memory.events": "oom_kill 7\n",
                "sys/fs/cgroup/memory.events": "oom_kill 3\n",
            },
            7,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc\n",
                "sys/fs/cgroup/memory/docker/abc/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/gone\n", "sys/fs/cgroup/memory/memory.oom_control": "oom_kill 1\n"}, 1),
        ({"sys/fs/cgroup/memory.events": "oom_kill many\n"}, None),
    ],
)
def test_the_kernels_kills_for_memory_are_counted(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert count_oom_kills(tmp_path) == expected


# Service manager


def test_sockets_of_the_service_manager_are_those_for_this_process_alone() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "OTHER": "x"}
    assert take_listen_fds(environ) == [3, 4]
    assert environ == {"OTHER": "x"}
    assert take_listen_fds({"LISTEN_PID": str(os.getppid()), "LISTEN_FDS": "2"}) == []
    assert take_listen_fds({}) == []
    with pytest.raises(ValueError, match="many"):
        take_listen_fds({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"})


def test_a_service_manager_under_an_abstract_name_is_told() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the system picks a name
        environ = {"NOTIFY_SOCKET": "@" + manager.getsockname()[1:].decode(), "WATCHDOG_USEC": "3000000"}
        notifier = Notifier(environ)
        assert (environ, notifier.watchdog) == ({}, 1.5)
        notifier.main_process(7)
        assert manager.recv(100) == b"MAINPID=7"


def test_without_a_service_manager_nobody_is_told_and_one_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    assert Notifier({"WATCHDOG_USEC": "1000"}).watchdog is None
    assert Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watchdog is None
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


# Identity


def test_a_pid_file_names_this_process_until_it_is_removed(tmp_path: Path) -> None:
    file = PidFile(str(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == f"{os.getpid()}\n"
    file.rename(str(tmp_path / "b"))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    file.remove()
    assert list(tmp_path.iterdir()) == []
    file.remove()


def test_a_pid_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"{os.getppid()}\n")
    with pytest.raises(PidFileError, match=f"names process {os.getppid()}, which runs"):
        PidFile(str(tmp_path / "a"))
    (tmp_path / "a").write_text("no number\n")
    file = PidFile(str(tmp_path / "a"))
    (tmp_path / "a").write_text("1\n")
    file.remove()
    assert (tmp_path / "a").read_text() == "1\n"


def test_a_pid_file_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    (tmp_path / "a").write_text(f"{pid}\n")
    PidFile(str(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == f"{os.getpid()}\n"


def test_a_pid_file_in_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(PidFileError, match="can't write the PID file /no/such/pid: No such file or directory"):
        PidFile("/no/such/pid")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_pid_file_that_who_serves_may_not_remove_stays_and_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own nobody else may enter
        os.chmod(folder, 0o755)
        file = PidFile(f"{folder}/a")
        os.seteuid(1)
        try:
            with caplog.at_level("INFO", "greenserve.supervisor"):
                file.remove()
        finally:
            os.seteuid(0)
        assert caplog.messages == [f"the PID file {folder}/a stays: Permission denied"]
        assert os.path.exists(f"{folder}/a")


@pytest.mark.parametrize("name", ["user", "group"])
@pytest.mark.parametrize("value", ["nobody-at-all", "4294967295", "9" * 5000, "\u0661"])
def test_a_user_or_group_that_is_not_there_is_told_with_its_source(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=rf"^{name} = '{value}' \({name} here\): there is no such {name}$"):
        Owner(settings(**{name: value}))


def run_in_child(check: str, **values: object) -> str:
    """Return what ``check`` makes in a child that has become the owner of the settings."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Owner(settings(**values)).become()
            os.write(theirs, repr(eval(check)).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_worker_becomes_the_user_and_group_and_nothing_of_root_stays() -> None:
    text = run_in_child("os.getresuid(), os.getresgid(), os.getgroups()", user="daemon", group="23456")
    assert text == "((1, 1, 1), (23456, 23456, 23456), [23456])"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ({"user": "10001", "group": "23456"}, "(23456, 23456, 23456), [23456]"),
        ({"user": "10001", "group": "23456", "initgroups": True}, "(23456, 23456, 23456), [23456]"),
        ({"user": 10001}, "(0, 0, 0), [0]"),
    ],
)
def test_a_number_that_no_user_has_is_taken_as_containers_run(values: dict[str, object], groups: str) -> None:
    assert (
        run_in_child("os.getresuid(), os.getresgid(), os.getgroups()", **values) == f"((10001, 10001, 10001), {groups})"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_log_files_belong_to_who_opens_them_anew_and_devices_to_whom_they_did(tmp_path: Path) -> None:
    ours, device = os.openpty()
    link = tmp_path / "device"
    link.symlink_to(os.ttyname(device))
    before = os.stat(link)
    config = settings(user="daemon", error_logfile=str(tmp_path / "errors"), access_logfile=str(link))
    Owner(config).give_logs(config)
    assert ((tmp_path / "errors").stat().st_uid, os.stat(link).st_uid) == (1, before.st_uid)
    os.close(ours)
    os.close(device)


# Hooks


def test_hooks_are_taken_by_their_names_and_called_with_their_arguments() -> None:
    calls: list[tuple[object, ...]] = []
    hooks = Hooks({"on_exit": lambda server: calls.append((server,)), "helper": len})
    assert hooks
    hooks.call("on_exit", 1)
    hooks.call("on_starting", 1)
    assert calls == [(1,)]
    assert not Hooks({"helper": len})


@pytest.mark.parametrize(
    ("names", "lines"),
    [
        ("when_redy", ["when_redy in a.py is not a hook; did you mean when_ready?"]),
        ("when_redy when_ready", []),
        ("pre_forc post_fork helper _on_exit", ["pre_forc in a.py is not a hook; did you mean pre_fork?"]),
        ("dirty_post_fork pre_request_logger", []),
    ],
)
def test_a_function_that_looks_like_a_hook_is_told_and_helpers_are_not(names: str, lines: list[str]) -> None:
    file = ConfigFile("a.py", "/a.py", Source("in a.py", {}), dict.fromkeys(names.split(), len), [])
    assert misspelt_hooks(file) == lines


def test_a_hook_with_other_arguments_is_refused() -> None:
    with pytest.raises(Exception, match=r"the hook pre_fork has to take these arguments: pre_fork\(server, worker\)"):
        Hooks({"pre_fork": lambda server: None})


@pytest.mark.parametrize("count", [2, 3, 4])
def test_post_request_may_take_fewer_arguments(count: int) -> None:
    calls: list[tuple[object, ...]] = []
    functions = {
        2: lambda a, b: calls.append((a, b)),
        3: lambda a, b, c: calls.append((a, b, c)),
        4: lambda a, b, c, d: calls.append((a, b, c, d)),
    }
    Hooks({"post_request": functions[count]}).call("post_request", 1, 2, 3, 4)
    assert calls == [(1, 2, 3, 4)[:count]]


def test_what_a_hook_raises_stops_nothing_where_nothing_may_fail() -> None:
    def fail(server: object) -> None:
        raise RuntimeError

    hooks = Hooks({"on_exit": fail})
    hooks.call_safely("on_exit", None)
    with pytest.raises(RuntimeError):
        hooks.call("on_exit", None)


# Workers


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0, "ended with status 0"),
        (4 << 8, "ended with status 4"),
        (int(signal.SIGSEGV), "was killed by SIGSEGV"),
        (50, "was killed by signal 50"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(status: int, text: str) -> None:
    assert describe_exit(status) == text


@given(st.lists(st.tuples(st.sampled_from(["ready", "failed", "changed"]), st.text(max_size=200)), max_size=5))
def test_what_a_worker_says_is_what_its_master_hears(messages: list[tuple[str, str]]) -> None:
    worker = Worker(0, 1, 0)
    try:
        for what, text in messages:
            worker.other_end.sendall(encode_message(what, text))
        worker.other_end.close()
        assert list(worker.messages()) == messages
    finally:
        worker.forget()


def test_a_traceback_of_any_length_fits_into_one_message() -> None:
    worker = Worker(0, 1, 0)
    try:
        worker.other_end.setblocking(False)
        worker.other_end.sendall(encode_message("failed", "\u20ac" * 1_000_000))
        worker.other_end.close()
        ((what, text),) = worker.messages()
        assert (what, set(text)) == ("failed", {"\u20ac"})
    finally:
        worker.forget()


def test_a_worker_is_silent_from_its_last_beat_on_and_not_before_it_is_ready() -> None:
    worker = Worker(0, 1, 0)
    try:
        assert worker.silent_for(worker.started + 100) == 0
        worker.state = State.READY
        worker.ready_at = worker.started + 10
        assert worker.silent_for(worker.started + 15) == pytest.approx(5)
        worker.pulse.write(Beat(worker.started + 14, 0, 0, 0, 0, 0))
        assert worker.silent_for(worker.started + 15) == pytest.approx(1)
    finally:
        worker.other_end.close()
        worker.forget()


# Deaths


def ended(worker: Worker, state: State) -> Worker:
    worker.state = state
    worker.other_end.close()
    worker.forget()
    return worker


def test_a_place_whose_worker_cannot_start_stays_empty_for_longer_each_time() -> None:
    deaths = Deaths()
    deaths.note_ready()  # of another one
    pauses = []
    now = 100.0
    for _ in range(7):
        assert deaths.may_start(0, now)
        worker = Worker(0, 1, 0)
        worker.failure = "it does not import"
        assert deaths.note(ended(worker, State.BOOTING), 4 << 8, now, has_others=True) == "failed to start"
        (again,) = deaths.next_starts(now)
        assert not deaths.may_start(0, again - 0.001)
        assert deaths.may_start(1, now), "another place is another matter"
        pauses.append(again - now)
        now = again
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    deaths.forget_failures()
    assert deaths.may_start(0, now)


def test_a_worker_that_dies_young_is_replaced_at_once_and_then_later_and_later() -> None:
    deaths = Deaths()
    deaths.note_ready()
    pauses = []
    now = 100.0
    for _ in range(4):
        worker = Worker(0, 1, 0)
        worker.ready_at = now
        deaths.note(ended(worker, State.READY), int(signal.SIGSEGV), now + 0.5, has_others=True)
        pauses.append(next(deaths.next_starts(now + 0.5), now + 0.5) - now - 0.5)
        now += 50
    assert pauses == [0, 0.5, 1, 2]
    worker = Worker(0, 1, 0)
    worker.ready_at = now
    deaths.note(ended(worker, State.READY), int(signal.SIGSEGV), now + 5, has_others=True)
    assert deaths.may_start(0, now + 5), "one that has served for a while is replaced at once"


def test_the_first_start_has_failed_when_every_worker_has() -> None:
    deaths = Deaths()
    for number, has_others in ((0, True), (1, False)):
        assert deaths.error is None
        worker = Worker(number, 1, 0)
        worker.failure = f"reason {number}"
        deaths.note(ended(worker, State.BOOTING), 4 << 8, 1.0, has_others)
        assert not deaths.may_start(number, 1e9)
    assert deaths.error == "reason 1"


@pytest.mark.parametrize(("age", "pauses"), [(0.5, [0, 0.5, 1]), (5, [0, 0, 0])])
def test_a_worker_that_its_application_ends_is_replaced_as_one_that_dies_and_that_is_no_error(
    caplog: pytest.LogCaptureFixture, age: float, pauses: list[float]
) -> None:
    caplog.set_level(logging.INFO, "greenserve.supervisor")
    deaths = Deaths()
    deaths.note_ready()
    now = 100.0
    for pause in pauses:
        worker = Worker(0, 1, 0)
        worker.state, worker.ready_at = State.READY, now
        now += age
        deaths.note_exit(worker, "SystemExit(3)", now)
        assert deaths.may_start(0, now + pause)
        assert deaths.may_start(0, now) is (pause == 0)
        why = deaths.note(ended(worker, State.LEAVING), 3 << 8, now, has_others=True)
        assert why == "ended by the application"
        refilled = f"Its place is filled again{f' in {pause:g} s' if pause else ''}"
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("WARNING", f"{worker} leaves, since the application ends it by SystemExit(3)\n{refilled}"),
            ("INFO", f"{worker} ended with status 3"),
        ]
        caplog.clear()
        now += 50


def test_a_death_is_named_by_its_kind_and_not_by_its_figures() -> None:
    worker = Worker(0, 1, 0)
    worker.retiring = "max_requests: it has served 10 requests"
    assert Deaths().note(ended(worker, State.LEAVING), 0, 1.0, has_others=True) == "max_requests"


# Whether a master is needed


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, False),
        ({"timeout": "5"}, False),
        ({"workers": "1"}, True),
        ({"max_requests": "5"}, True),
        ({"max_requests": "0"}, False),
        ({"reload": "no"}, False),
        ({"reload": "yes"}, True),
        ({"worker_max_rss": "1G"}, True),
    ],
)
def test_a_master_runs_where_the_settings_need_one(values: dict[str, object], expected: bool) -> None:
    assert needs_master(settings(**values), Hooks({})) is expected
    assert needs_master(settings(**values), Hooks({"on_exit": lambda server: None}))
