"""What a worker knows of itself, and what its sessions say of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve._bus.place import Place, current_place, new_folder, number_in, numbered, take_place
from tests.contrib.programs import environment

SESSION = "abcdefghij-_ABCD0123"


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("_GREENSERVE_WORKER", "")  # so that it is as before in the end
    place = Place(12, "/run/a folder")
    take_place(place)
    return place


def test_a_place_is_that_of_one_process(place: Place) -> None:
    assert current_place() == place
    program = "from greenserve._bus.place import current_place; print(current_place())"
    env = environment(_GREENSERVE_WORKER=os.environ["_GREENSERVE_WORKER"])
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"


def test_a_session_has_the_number_of_the_worker_behind_it(place: Place) -> None:
    assert numbered(SESSION) == f"{SESSION}.12"
    assert number_in(f"EIO=4&transport=polling&sid={numbered(SESSION)}") == 12


def test_a_process_that_is_no_worker_numbers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_GREENSERVE_WORKER", raising=False)
    assert (current_place(), numbered(SESSION)) == (None, SESSION)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        (f"sid={SESSION}.0", 0),
        (f"EIO=4&sid={SESSION}.9999&t=x", 9999),
        (f"sid={SESSION}", None),
        (f"sid={SESSION}.", None),
        (f"sid={SESSION}.-1", None),
        (f"sid={SESSION}.12345", None),
        (f"sid={SESSION}.1x", None),
        (f"sid={SESSION}x.1", None),
        (f"sid={SESSION[1:]}.1", None),
        (f"sid={SESSION}.\u0661", None),
        (f"xsid={SESSION}.1", None),
        ("", None),
    ],
)
def test_a_query_names_a_worker_or_nobody(query: str, number: int | None) -> None:
    assert number_in(query) == number


@given(st.text())
def test_any_query_is_read(query: str) -> None:
    assert number_in(query) is None or "sid=" in query


def test_the_folder_is_new_and_short_enough_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/" + "x" * 90)
    folders = {new_folder() for _ in range(10)}
    assert len(folders) == 10
    assert all(folder.startswith("/tmp/greenserve-") and len(folder) <= 80 for folder in folders)
    assert not any(map(os.path.exists, folders))


# Every file that is written is too long then, wherever it is.
NO_FILES = """
import resource, tempfile
from greenserve._bus.place import new_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    tempfile.gettempdir()
except FileNotFoundError:
    print(new_folder())
"""


def test_where_no_file_can_be_written_the_folder_has_a_path_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_FILES], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("/tmp/greenserve-")
