"""Who is on a bus: those that listen in its folder, and no others."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenserve._bus.members import Members, process_of


def test_the_folder_is_made_for_its_owner_alone(folder: str) -> None:
    _, sock = Members(folder, "a").enter()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    sock.close()


def test_a_folder_that_is_open_to_everybody_is_refused(folder: str) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    with pytest.raises(PermissionError, match="anybody may write to"):
        Members(folder, "a").enter()


def test_a_folder_of_another_user_is_refused_unless_it_is_shared_with_our_group(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.lstat

    def lstat(path: str) -> SimpleNamespace:
        found = real(path)
        return SimpleNamespace(st_mode=found.st_mode, st_gid=found.st_gid, st_uid=os.geteuid() + 1)

    os.mkdir(folder, 0o750)
    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(PermissionError, match="is another user's"):
        Members(folder, "a").enter()
    os.chmod(folder, 0o770)
    _, listener = Members(folder, "a").enter()
    listener.close()


def test_what_is_no_folder_is_refused(folder: str) -> None:
    Path(folder).touch()
    with pytest.raises(NotADirectoryError, match="is no folder"):
        Members(folder, "a").enter()
    Path(folder).unlink()
    Path(folder).symlink_to(Path(folder).parent)
    with pytest.raises(NotADirectoryError, match="is no folder"):
        Members(folder, "a").enter()


def test_members_are_those_of_the_same_channel(folder: str) -> None:
    first, other = Members(folder, "a"), Members(folder, "\u00fc" * 300)
    assert first.names() == []
    entered = [first.enter(), first.enter(), other.enter()]
    Path(folder, "something else").touch()
    assert sorted(first.names()) == sorted(name for name, _ in entered[:2])
    assert other.names() == [entered[2][0]]
    assert entered[0][0].split("-")[1] == str(os.getpid())
    for _, sock in entered:
        sock.close()


def test_a_member_whose_process_has_ended_is_taken_off_the_list_by_who_asks_for_it(folder: str) -> None:
    members = Members(folder, "a")
    there, sock = members.enter()
    pid = os.fork()
    if pid == 0:
        members.enter()
        os._exit(0)
    os.waitpid(pid, 0)
    (gone,) = [name for name in members.names() if process_of(name) == pid]
    with pytest.raises(ConnectionRefusedError):
        members.connect(gone, 0)
    members.connect(there, 0).close()
    assert members.names() == [there]
    sock.close()


def test_a_member_that_does_not_listen_yet_stays_on_the_list(folder: str) -> None:
    members = Members(folder, "a")
    name, sock = members.enter()
    sock.close()
    with pytest.raises(ConnectionRefusedError):
        members.connect(name, 0)
    assert members.names() == [name]
    members.remove(name)
    assert members.names() == []
