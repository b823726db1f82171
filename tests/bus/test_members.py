"""Who is on a bus: those that listen in its folder, and no others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from greenserve._bus.members import Members


def test_the_folder_is_made_for_its_owner_alone(folder: str) -> None:
    _, sock = Members(folder, "a").enter()
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    sock.close()


def test_a_folder_that_is_open_to_everybody_is_refused(folder: str) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o777)
    with pytest.raises(PermissionError, match="anybody may write to"):
        Members(folder, "a").enter()


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


def test_a_member_that_has_ended_is_taken_off_the_list_by_who_asks_for_it(folder: str) -> None:
    members = Members(folder, "a")
    (gone, ended), (there, sock) = members.enter(), members.enter()
    ended.close()
    with pytest.raises(ConnectionRefusedError):
        members.connect(gone, 0)
    members.connect(there, 0).close()
    assert members.names() == [there]
    sock.close()
