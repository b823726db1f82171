"""Which files count under --reload, and that a change of one is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from greenserve import extras
from greenserve.supervisor.changes import Snapshot, Watched, poll


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    for name in (
        "app.py",
        "shop/views.py",
        "shop/data.json",
        ".git/hook.py",
        "env/pyvenv.cfg",
        "env/lib/installed.py",
        "shop/__pycache__/views.py",
        "node_modules/x.py",
        "settings.ini",
        "templates/page.html",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    return Watched([str(tmp_path)], [str(tmp_path / "settings.ini"), str(tmp_path / "templates")])


def test_python_files_and_what_is_named_count_and_nothing_else(watched: Watched, tmp_path: Path) -> None:
    found = {str(Path(path).relative_to(tmp_path)) for path in watched.snapshot()}
    assert found == {"app.py", "shop/views.py", "settings.ini", "templates/page.html"}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("app.py", True),
        ("shop/new.py", True),
        ("app.pyc", False),
        ("shop/.hidden/x.py", False),
        ("shop/site-packages/x.py", False),
        ("templates/deep/page.html", True),
        ("templates.bak", False),
        ("../other/app.py", False),
    ],
)
def test_a_path_counts_by_its_name_and_place(watched: Watched, tmp_path: Path, name: str, counts: bool) -> None:
    assert watched.counts(str((tmp_path / name).resolve())) is counts


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "app.py").write_text("12"),
        lambda folder: (folder / "shop/new.py").write_text("1"),
        lambda folder: (folder / "app.py").unlink(),
    ],
    ids=["saved", "new", "removed"],
)
def test_two_looks_differ_after_a_change(watched: Watched, tmp_path: Path, change: object) -> None:
    before = watched.snapshot()
    assert watched.snapshot() == before
    assert callable(change)
    change(tmp_path)
    assert watched.snapshot() != before


def test_the_directories_are_those_that_hold_all(watched: Watched, tmp_path: Path) -> None:
    assert watched.directories == [str(tmp_path), str(tmp_path / "templates")]


@pytest.mark.parametrize("engine", ["poll", "watchfiles"])
def test_a_file_that_was_saved_before_the_watch_began_is_told(watched: Watched, tmp_path: Path, engine: str) -> None:
    before = watched.snapshot()
    (tmp_path / "app.py").write_text("12")
    assert run_until_told(watched, before, engine) == str(tmp_path / "app.py")


class Told(Exception):
    """Ends a watch, which goes on for ever otherwise."""


def run_until_told(watched: Watched, before: Snapshot, engine: str) -> str:
    def tell(path: str) -> None:
        raise Told(path)

    watch = poll if engine == "poll" else extras.load("reload", "greenserve.supervisor._watchfiles").watch
    with pytest.raises(Told) as told:
        watch(watched, before, tell)
    return str(told.value)
