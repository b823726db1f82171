"""What ``--bind`` says, as listening sockets: those that open, those that can't, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenserve._kinds import parse_address
from greenserve.binds import BindError, Listener, open_listeners

OPEN = Callable[..., list[Listener]]


@pytest.fixture
def open_all() -> Iterator[OPEN]:
    """Open listeners, and close them after the test."""
    opened: list[Listener] = []

    def open_some(*texts: str, **keywords: int) -> list[Listener]:
        listeners = open_listeners(list(map(parse_address, texts)), backlog=5, **keywords)
        opened.extend(listeners)
        return listeners

    yield open_some
    for listener in opened:
        listener.close()


def port_of(listener: Listener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:0", "http://127.0.0.1:{}/"),
        ("localhost:0", "http://127.0.0.1:{}/"),
        (":0", "http://0.0.0.0:{}/"),
        ("[::1]:0", "http://[::1]:{}/"),
    ],
)
def test_a_listener_says_where_it_is_with_the_port_that_the_system_chose(open_all: OPEN, text: str, url: str) -> None:
    (listener,) = open_all(text)
    assert port_of(listener) > 0
    assert str(listener) == url.format(port_of(listener))


def test_a_unix_socket_is_there_until_it_is_closed(open_all: OPEN, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    (listener,) = open_all(f"unix:{path}")
    assert str(listener) == f"unix:{path}"
    assert stat.S_ISSOCK(path.stat().st_mode)
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_a_unix_socket_has_the_permissions_that_were_asked_for(open_all: OPEN, tmp_path: Path, mode: int) -> None:
    umask = os.umask(0o022)
    try:
        open_all(f"unix:{tmp_path / 'app.sock'}", unix_socket_mode=mode)
        assert stat.S_IMODE((tmp_path / "app.sock").stat().st_mode) == mode
    finally:
        assert os.umask(umask) == 0o022, "the umask is as it was"


@pytest.mark.parametrize("mode", [None, 0o600])
def test_the_path_of_a_unix_socket_may_look_like_a_host_and_a_port(
    open_all: OPEN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (listener,) = open_all("unix:app:1", unix_socket_mode=mode)
    assert (tmp_path / "app:1").is_socket()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_a_unix_socket_that_another_server_has_put_there_meanwhile_is_left_alone(
    open_all: OPEN, tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    (old,) = open_all(f"unix:{path}")
    path.rename(tmp_path / "old.sock")  # so that its inode is not given out again
    open_all(f"unix:{path}")
    old.close()
    assert stat.S_ISSOCK(path.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_unix_socket_that_who_serves_may_not_remove_stays_and_costs_nothing(
    open_all: OPEN, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own nobody else may enter
        os.chmod(folder, 0o755)
        (listener,) = open_all(f"unix:{folder}/a")
        os.seteuid(1)
        try:
            with caplog.at_level("INFO", "greenserve"):
                listener.close()
        finally:
            os.seteuid(0)
        said = f"the socket's file {folder}/a stays, and is replaced by the next server: Permission denied"
        assert (caplog.messages, listener.socket.fileno()) == ([said], -1)
        open_all(f"unix:{folder}/a")


def test_the_file_of_a_server_that_is_gone_is_replaced(open_all: OPEN, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (listener,) = open_all(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert str(listener) == f"unix:{path}"


def test_an_inherited_socket_is_used_as_it_is(open_all: OPEN) -> None:
    with socket.create_server(("127.0.0.1", 0)) as parent:
        (listener,) = open_all(f"fd://{os.dup(parent.fileno())}")
        assert listener.socket.getsockname() == parent.getsockname()


def test_the_file_of_an_inherited_unix_socket_belongs_to_who_made_it(open_all: OPEN, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as parent:
        parent.bind(str(path))
        parent.listen()
        (listener,) = open_all(f"fd://{os.dup(parent.fileno())}")
        assert str(listener) == f"unix:{path}"
        listener.close()
        assert path.exists()


def test_two_servers_share_a_port_only_when_both_ask_for_it(open_all: OPEN) -> None:
    (first,) = open_all("127.0.0.1:0", reuse_port=True)
    (second,) = open_all(f"127.0.0.1:{port_of(first)}", reuse_port=True)
    assert port_of(second) == port_of(first)
    with pytest.raises(BindError, match="it is in use"):
        open_all(f"127.0.0.1:{port_of(first)}")


def test_a_busy_port_is_told_and_what_was_opened_before_is_closed(open_all: OPEN, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        with pytest.raises(BindError) as caught:
            open_all(f"unix:{tmp_path / 'app.sock'}", address)
    assert str(caught.value) == f"can't listen on {address}: it is in use"
    assert not (tmp_path / "app.sock").exists()


def test_a_unix_socket_on_which_somebody_listens_is_told(open_all: OPEN, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'app.sock'}"
    open_all(address)
    with pytest.raises(BindError, match="a server is there, or another file"):
        open_all(address)


def test_a_file_that_is_no_socket_is_not_removed(open_all: OPEN, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(BindError, match="a server is there, or another file"):
        open_all(f"unix:{path}")
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:0", "it is no address of this machine"),
        ("unix:/no/such/folder/app.sock", "No such file or directory"),
        ("unix:/" + "x" * 200, "AF_UNIX path too long"),
        ("fd://987654", "there is no open socket of this number"),
    ],
)
def test_what_cannot_be_listened_on_is_told_with_the_reason(open_all: OPEN, address: str, reason: str) -> None:
    with pytest.raises(BindError) as caught:
        open_all(address)
    assert str(caught.value) == f"can't listen on {address}: {reason}"


def test_a_folder_where_nothing_may_be_made_is_told(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from greenserve._kinds import parse_address\n"
        "from greenserve.binds import BindError, open_listeners\n"
        "os.chmod(sys.argv[1], 0o500)\n"
        "if os.geteuid() == 0:\n"  # whom no permissions stop
        "    os.seteuid(65534)\n"
        "try:\n"
        "    open_listeners([parse_address(f'unix:{sys.argv[1]}/app.sock')], backlog=5)\n"
        "except BindError as exc:\n"
        "    print(exc)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent.parent, capture_output=True, text=True, check=True)
    assert done.stdout == f"can't listen on unix:{tmp_path}/app.sock: no permission\n"


def test_an_inherited_fd_that_is_no_listening_socket_is_told_and_left_open(open_all: OPEN, tmp_path: Path) -> None:
    with socket.socket() as idle, (tmp_path / "file").open("w") as file:
        for number, reason in ((idle.fileno(), "does not listen"), (file.fileno(), "there is no open socket")):
            with pytest.raises(BindError, match=reason):
                open_all(f"fd://{number}")
            os.fstat(number)
